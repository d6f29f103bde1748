import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from motedet.report import plots
from motedet.report.history import History, Series
from motedet.report.palette import DARK, LIGHT, Theme


def series(values: list[float]) -> Series:
    steps = np.arange(len(values), dtype=np.float64)
    return Series(steps, steps // 10, np.array(values))


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


HISTORY = History(
    {
        "loss": series([3.0 / (1 + i) for i in range(100)]),
        "loss_cls": series([1.0, float("nan"), 0.5]),
        "lr": series([0.1, 0.2, 0.1]),
        "AP": series([0.1, 0.3]),
        "AP_vt": series([-1.0, -1.0]),
    }
)


def test_histogram_bars_hold_every_object() -> None:
    sizes = np.array([0.7, 2.0, 3.0, 8.0, 12.0, 100.0])
    axes = plots.size_histogram({"train": sizes}).axes[0]
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert sum(heights) == pytest.approx(1.0)
    assert {t.get_text() for t in axes.texts} >= {"very tiny", "tiny", "33.3%"}


def test_a_bar_never_spans_two_size_bins() -> None:
    axes = plots.size_histogram({"train": np.array([1.5, 40.0])}).axes[0]
    for bar in axes.containers[0]:
        left, right = bar.get_x(), bar.get_x() + bar.get_width() / 0.94
        for border in (2, 8, 16, 32):
            assert not left + 1e-6 < border < right - 1e-6


@pytest.mark.parametrize(
    "sizes",
    [{}, {"train": np.zeros(0)}, {"train": np.array([np.nan, 0.0])}],
    ids=["no split", "no object", "no usable object"],
)
def test_histogram_of_nothing_says_so(sizes: dict[str, NDArray[np.float64]]) -> None:
    texts = [t.get_text() for t in plots.size_histogram(sizes).axes[0].texts]
    assert texts == ["no objects"]


def test_histogram_of_one_object_and_of_two_splits() -> None:
    plots.figure_png(plots.size_histogram({"train": np.array([4.0])}))
    axes = plots.size_histogram({"a": np.array([4.0]), "b": np.array([40.0])}).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["a, 1 object", "b, 1 object"]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_every_figure_draws_with_and_without_content(theme: Theme) -> None:
    for history in (History(), HISTORY):
        for figure in (
            plots.loss_curves(history, theme=theme),
            plots.learning_rate_curve(history, theme=theme),
            plots.ap_over_epochs(history, theme=theme),
        ):
            surface = pixels(plots.figure_png(figure, dpi=50))[0, 0]
            assert "#{:02X}{:02X}{:02X}".format(*surface) == theme.surface


def test_undefined_scores_are_not_curves() -> None:
    axes = plots.ap_over_epochs(HISTORY).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["AP  0.300"]


def test_bars_by_size_say_where_there_are_no_objects() -> None:
    values = {"AP": 0.4, "AP_vt": 0.3, "AP_t": 0.5, "AP_s": -1.0, "AP_m": float("nan")}
    axes = plots.ap_by_size(values).axes[0]
    texts = [t.get_text() for t in axes.texts]
    assert texts == ["0.400", "0.300", "0.500", "no objects", "no objects"]
    assert [t.get_text() for t in plots.ap_by_size({}).axes[0].texts] == ["no scores by size"]


def test_a_protocol_without_sizes_has_no_bars_and_own_bins_have_theirs() -> None:
    (axes,) = plots.ap_by_size({"AP": 0.4, "AP50": 0.6}).axes
    assert [t.get_text() for t in axes.texts] == ["no scores by size"]
    (axes,) = plots.ap_by_size({"AP": 0.4, "AP_2_8": 0.3, "AP_8+": -1.0}).axes
    assert [t.get_text() for t in axes.texts] == ["0.400", "0.300", "no objects"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["all sizes", "2-8 px", "≥ 8 px"]


def test_a_single_validation_stands_at_the_epochs_before_it() -> None:
    once = Series(np.array([70.0]), np.array([13.0]), np.array([0.3]))
    axes = plots.ap_over_epochs(History({"AP": once})).axes[0]
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [14.0]
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert ticks == [12.0, 13.0, 14.0, 15.0, 16.0]


def test_no_share_is_above_the_whole() -> None:
    axes = plots.size_histogram({"train": np.array([4.0])}).axes[0]
    assert max(axes.get_yticks()) == 1.0


def test_smooth_keeps_a_constant_and_bridges_missing_values() -> None:
    values = np.full(100, 2.0)
    values[50] = np.nan
    np.testing.assert_allclose(plots.smooth(values), 2.0)
    assert np.isnan(plots.smooth(np.full(9, np.nan))).all()


def test_figures_are_written(tmp_path: Path) -> None:
    paths = plots.write_figures(
        tmp_path / "figures", HISTORY, sizes={"train": np.array([4.0])}, values={"AP": 0.1}
    )
    assert [p.name for p in paths] == [
        "sizes.png",
        "losses.png",
        "learning_rate.png",
        "ap_over_epochs.png",
        "ap_by_size.png",
    ]
    assert sorted(tmp_path.joinpath("figures").iterdir()) == sorted(paths)
    for path in paths:
        assert min(pixels(path.read_bytes()).shape[:2]) > 500


def test_a_figure_is_the_same_every_time() -> None:
    first, second = (plots.figure_png(plots.loss_curves(HISTORY)) for _ in range(2))
    assert first == second


def test_tinyperson_has_bars_of_its_own() -> None:
    values = {"AP50_tiny": 0.5, "AP50_tiny1": 0.3, "AP50_tiny2": 0.55, "AP50_small": 0.6}
    (axes,) = plots.ap_by_size(values).axes
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels[0].startswith("AP50, tiny")
    assert len(labels) == 5
    boxes = [bar.get_path().get_extents(bar.get_patch_transform()) for bar in axes.patches]
    assert [round(float(box.y1), 2) for box in boxes] == [0.5, 0.3, 0.55, 0.0, 0.6]
