"""Scale Match and Monotone Scale Match against stored reference values."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from golden_files import load_json, load_npz
from motedet.data.sample import Sample
from motedet.data.scale_match import (
    ImageScale,
    MonotoneMap,
    ObjectSizes,
    ScaleLimits,
    SizeBins,
    SizeHistogram,
    choose_scale,
    draw_scale,
    gaussian_histogram,
)
from motedet.data.scale_match.sizes import annotation_sizes
from motedet.data.transforms import ScaleMatch

HISTOGRAMS = load_npz("scale_match", "histogram.npz")
HISTOGRAM_CASES = load_json("scale_match", "histogram.json")
RANDOM = load_npz("scale_match", "scale_match.npz")
RANDOM_CASES = load_json("scale_match", "scale_match.json")
MONOTONE = load_npz("scale_match", "monotone.npz")
MONOTONE_CASES = load_json("scale_match", "monotone.json")
RESIZE = load_npz("scale_match", "resize_transform.npz")

PLAIN = [name for name in MONOTONE_CASES["configs"] if not name.startswith("gauss")]
GAUSSIAN = [name for name in MONOTONE_CASES["configs"] if name.startswith("gauss")]
TARGET = RANDOM_CASES["target_set"]


def annotations(arrays: dict[str, NDArray[Any]], prefix: str) -> list[dict[str, object]]:
    """COCO annotations of one set; an `ignore` of 255 means that the key is absent."""
    entries = []
    for (w, h), crowd, ignore, image in zip(
        arrays[f"{prefix}wh"].tolist(),
        arrays[f"{prefix}iscrowd"].tolist(),
        arrays[f"{prefix}ignore"].tolist(),
        arrays[f"{prefix}image_id"].tolist(),
        strict=True,
    ):
        entry = {"bbox": [0, 0, w, h], "iscrowd": crowd, "image_id": image}
        entries.append(entry if ignore == 255 else entry | {"ignore": ignore})
    return entries


def sizes(arrays: dict[str, NDArray[Any]], prefix: str, *, first: bool = False) -> ObjectSizes:
    return annotation_sizes(
        annotations(arrays, prefix), source=Path("golden"), first_ignore_decides=first
    )


def size_bins(case: dict[str, Any]) -> SizeBins:
    mu_sigma = case.get("mu_sigma")
    return SizeBins(
        bins=case["bins"],
        except_rate=case.get("except_rate", -1),
        log=case.get("use_log_bins", False),
        mu_sigma=tuple(mu_sigma) if mu_sigma else None,
    )


def limits(case: dict[str, Any]) -> ScaleLimits:
    default = case.get("out_scale_deal") == "use_default_scale"
    return ScaleLimits(
        default_scale=case["default_scale"],
        scale_range=tuple(case["scale_range"]),
        out_of_range="default" if default else "clip",
    )


def images(
    arrays: dict[str, NDArray[Any]], name: str
) -> Iterator[tuple[int, NDArray[np.float32], tuple[int, int]]]:
    """Number, boxes and (height, width) of every image of a case."""
    offset = arrays[f"{name}/offset"].tolist()
    for i, (height, width) in enumerate(arrays[f"{name}/hw"].tolist()):
        yield i, arrays[f"{name}/boxes"][offset[i] : offset[i + 1]], (height, width)


# --- Histogram --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [False, True], ids=["every ignore", "first decides"])
@pytest.mark.parametrize("name", HISTOGRAM_CASES)
def test_histogram(name: str, *, first: bool) -> None:
    histogram = size_bins(HISTOGRAM_CASES[name])(sizes(HISTOGRAMS, f"{name}/", first=first).sizes)
    for found, key in (
        (histogram.prob, "prob"),
        (histogram.edges, "edges"),
        (histogram.cumulative, "cumsum"),
    ):
        np.testing.assert_allclose(found, HISTOGRAMS[f"{name}/{key}"], rtol=1e-12, atol=0)


# --- Scale Match ------------------------------------------------------------------------------


class Draws:
    """The stored uniforms, one after the other, counted."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values = values
        self.used = 0

    def __call__(self) -> float:
        self.used += 1
        return float(self.values[self.used - 1])


def check_wanted(chosen: ImageScale, expected: float) -> None:
    """The factor before limits; NaN for an image without objects."""
    if np.isnan(expected):
        assert chosen.wanted is None
    else:
        assert chosen.wanted == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", RANDOM_CASES["configs"])
def test_scale_match(name: str) -> None:
    case = RANDOM_CASES["configs"][name]
    cumulative = RANDOM[f"{name}/cumsum"]
    histogram = SizeHistogram(RANDOM[f"{name}/edges"], np.diff(cumulative, prepend=0.0))
    draw = partial(draw_scale, histogram, max_tries=case.get("max_sample_try", 5))
    allowed = limits(case)
    for i, boxes, size in images(RANDOM, name):
        draws = Draws(RANDOM[f"{name}/draws"][i])
        wanted = partial(draw, uniform=draws, limits=allowed)
        chosen = choose_scale(boxes, size, wanted, allowed)
        assert chosen.size == tuple(RANDOM[f"{name}/new_hw"][i])
        assert draws.used == RANDOM[f"{name}/draws_used"][i]
        assert (chosen.outcome == "vanished") == RANDOM[f"{name}/fallback"][i]
        check_wanted(chosen, RANDOM[f"{name}/last_raw_scale"][i])


@pytest.mark.parametrize("name", RANDOM_CASES["configs"])
def test_sizes_that_are_drawn(name: str) -> None:
    cumulative = RANDOM[f"{name}/cumsum"]
    histogram = SizeHistogram(RANDOM[f"{name}/edges"], np.diff(cumulative, prepend=0.0))
    for draws, tried in zip(RANDOM[f"{name}/draws"], RANDOM[f"{name}/dst_size_tried"], strict=True):
        uniform = Draws(draws)
        expected = tried[~np.isnan(tried)]
        found = [histogram.draw(uniform) for _ in expected]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", RANDOM_CASES["configs"])
def test_stored_histogram_is_that_of_the_target(name: str) -> None:
    histogram = size_bins(RANDOM_CASES["configs"][name])(sizes(HISTOGRAMS, f"{TARGET}/").sizes)
    np.testing.assert_allclose(histogram.edges, RANDOM[f"{name}/edges"], rtol=1e-12)
    np.testing.assert_allclose(histogram.cumulative, RANDOM[f"{name}/cumsum"], rtol=1e-12)


# --- Monotone Scale Match ---------------------------------------------------------------------


def monotone_map(name: str) -> MonotoneMap:
    """The map of a case; "limit" is what the reference's division by zero tends to."""
    case = MONOTONE_CASES["configs"][name]
    source = sizes(MONOTONE, f"{name}/src_")
    if name in PLAIN:
        histogram = size_bins(case)(sizes(HISTOGRAMS, f"{TARGET}/").sizes)
        return MonotoneMap.between(source.sizes, histogram, flat="limit")
    mu, sigma = case["mu_sigma"]
    histogram = gaussian_histogram(
        case["bins"],
        mu=mu,
        sigma=sigma,
        min_log_size=case["min_size"],
        standard_sample=MONOTONE[f"{name}/standard_sample"],
    )
    measured = source.per_image() if case["use_size_in_image"] else source.sizes
    return MonotoneMap.between(measured, histogram, log=True, flat="limit")


@pytest.mark.parametrize("name", PLAIN + GAUSSIAN)
def test_edges_of_source_and_target(name: str) -> None:
    found = monotone_map(name)
    np.testing.assert_allclose(found.source, MONOTONE[f"{name}/src_edges"], rtol=1e-12)
    np.testing.assert_allclose(found.target, MONOTONE[f"{name}/dst_edges"], rtol=1e-12)


@pytest.mark.parametrize("name", PLAIN + GAUSSIAN)
def test_monotone_scale_match(name: str) -> None:
    mapped, allowed = monotone_map(name), limits(MONOTONE_CASES["configs"][name])
    for i, boxes, size in images(MONOTONE, name):
        chosen = choose_scale(boxes, size, lambda mean: mapped(mean) / mean, allowed)
        if MONOTONE[f"{name}/status"][i] != 0:
            # the reference fails: the mean lies beyond the source; the last bin goes on for it
            assert chosen.wanted is not None
            assert np.isfinite(chosen.wanted)
            continue
        assert chosen.size == tuple(MONOTONE[f"{name}/new_hw"][i])
        check_wanted(chosen, MONOTONE[f"{name}/raw_scale"][i])
        if f"{name}/fallback" in MONOTONE:
            assert (chosen.outcome == "vanished") == MONOTONE[f"{name}/fallback"][i]


# --- The transform around it ------------------------------------------------------------------


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target") / "target.json"
    path.write_text(json.dumps({"annotations": annotations(HISTOGRAMS, f"{TARGET}/")}))
    return path


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in RESIZE}))
def test_transform(case: str, target: Path) -> None:
    image = torch.from_numpy(RESIZE[f"{case}/img"]).permute(2, 0, 1)  # [3, H, W]
    boxes = torch.from_numpy(RESIZE[f"{case}/boxes"]).reshape(-1, 4)
    size = (image.shape[1], image.shape[2])
    sample = Sample(
        image=image,
        boxes=boxes,
        labels=torch.arange(len(boxes)),
        ignore_boxes=torch.from_numpy(RESIZE[f"{case}/boxes_ignore"]).reshape(-1, 4),
        image_id=1,
        original_size=size,
        image_size=size,
        padded_size=size,
    )
    draws = Draws(RESIZE[f"{case}/draws"])
    found = ScaleMatch(target=str(target), antialias=False).with_draws(sample, draws)
    height, width, _ = RESIZE[f"{case}/out_shape"].tolist()
    assert found.image_size == found.padded_size == (height, width)
    assert found.labels.tolist() == RESIZE[f"{case}/out_labels"].tolist()
    np.testing.assert_allclose(found.boxes.numpy(), RESIZE[f"{case}/out_boxes"], rtol=1e-6)
    np.testing.assert_allclose(
        found.ignore_boxes.numpy(), RESIZE[f"{case}/out_boxes_ignore"], rtol=1e-6
    )
    pixels = found.image.permute(1, 2, 0).numpy().astype(np.int64)  # [h, w, 3]
    assert np.abs(pixels - RESIZE[f"{case}/out_img"]).max() <= 1
