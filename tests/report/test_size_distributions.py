import io

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from numpy.typing import NDArray
from PIL import Image

from motedet.report.palette import DARK, LIGHT, Theme
from motedet.report.plots import figure_png
from motedet.report.size_distributions import size_distributions

NONE = np.zeros(0)


def sizes(mean: float) -> NDArray[np.float64]:
    return np.random.default_rng(0).lognormal(np.log(mean), 0.4, 500)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda t: t.name)
def test_the_three_distributions_are_drawn(theme: Theme) -> None:
    figure = size_distributions(source=sizes(200), target=sizes(5), matched=sizes(5.5), theme=theme)
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text().split(",")[0] for text in legend.get_texts()]
    assert names == ["target", "source", "matched"]
    with Image.open(io.BytesIO(figure_png(figure, dpi=60))) as picture:
        assert min(picture.size) > 100


def test_every_object_is_in_a_bar() -> None:
    figure = size_distributions(
        source=np.array([0.3, 900.0]), target=np.array([4.0]), matched=np.array([2.0, 8.0, 32.0])
    )
    drawn = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    assert len(drawn) == 3
    assert [np.sum(patch.get_data()[0]) for patch in drawn] == pytest.approx([1, 1, 1])
    medians = [patch.get_label() for patch in drawn]
    assert medians == ["target, median 4 px", "source, median 450 px", "matched, median 8 px"]


@pytest.mark.parametrize("bad", [NONE, np.array([np.nan, 0.0, -1.0])], ids=["none", "unusable"])
def test_nothing_to_draw_is_said(bad: NDArray[np.float64]) -> None:
    figure = size_distributions(source=bad, target=bad, matched=bad)
    assert [t.get_text() for t in figure.axes[0].texts] == ["no objects"]
    partly = size_distributions(source=sizes(16), target=sizes(5), matched=bad)
    assert len([p for p in partly.axes[0].patches if isinstance(p, StepPatch)]) == 2


def test_names_of_bins_without_room_are_left_out() -> None:
    wide = size_distributions(source=np.array([8000.0]), target=sizes(5), matched=sizes(5))
    names = {t.get_text() for t in wide.axes[0].texts}
    assert "medium" in names
    assert "small" not in names
