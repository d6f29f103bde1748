"""Priors equal those of the published code (tolerance 1e-4 px)."""

from typing import Any, Literal, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from golden_files import load_json, load_npz
from motedet.priors import R50_REFERENCE, Anchors, Points, PriorGrid, ReceptiveFields
from motedet.structures import Size

FIELDS = load_npz("rfla", "priors.npz")
LAYERS = [key.split("_")[1] for key in FIELDS if key.startswith("fcosrf_")]
ANCHORS = load_json("autoassign", "ops.json")["anchors"]
OPS = load_npz("autoassign", "ops.npz")
RATIOS = (0.5, 1.0, 2.0)


def fields(
    layer: str, *, fraction: float = 0.5, ratios: tuple[float, ...] = RATIOS
) -> ReceptiveFields:
    first = {"p2": 4, "p3": 8}[layer]
    start = cast("Literal['p2', 'p3']", layer)
    strides = tuple(first * 2**i for i in range(5))
    return ReceptiveFields(
        strides=strides, start_level=start, fraction=fraction, ratios=ratios, offset=0.0
    )


def level_sizes(layer: str) -> list[Size]:
    return [(int(h), int(w)) for h, w in FIELDS[f"grid_{layer}_sizes"]]


def levels_of(grid: PriorGrid, values: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(values, grid.level_starts[1:])


def test_theoretical_fields() -> None:
    np.testing.assert_array_equal(R50_REFERENCE, FIELDS["trf_p2_to_p7"])


@pytest.mark.parametrize("key", [key for key in FIELDS if key.startswith("base_")])
def test_base_boxes(key: str) -> None:
    _, layer, last = key.split("_")
    if last.startswith("ratio"):
        made = fields(layer, ratios=(float(last.removeprefix("ratio")),))
    else:
        made = fields(layer, fraction=float(FIELDS["fractions"][int(last[1:])]))
    boxes = [made.base_boxes(level) for level in range(len(FIELDS[key]))]
    np.testing.assert_allclose(boxes, FIELDS[key], atol=1e-4, rtol=0)


@pytest.mark.parametrize("layer", LAYERS)
def test_anchors_of_receptive_fields(layer: str) -> None:
    grid = fields(layer)(level_sizes(layer))
    for level, boxes in enumerate(levels_of(grid, grid.boxes().numpy())):
        np.testing.assert_allclose(boxes, FIELDS[f"grid_{layer}_l{level}"], atol=1e-4, rtol=0)
    height, width = (int(side) for side in FIELDS[f"valid_{layer}_pad"])
    np.testing.assert_array_equal(grid.inside([(height, width)])[0], FIELDS[f"valid_{layer}"])


@pytest.mark.parametrize("layer", LAYERS)
def test_fields_around_points(layer: str) -> None:
    strides = fields(layer).strides
    made = ReceptiveFields(strides=strides, start_level=cast("Literal['p2', 'p3']", layer))
    grid = made(level_sizes(layer))
    np.testing.assert_allclose(grid.boxes(), FIELDS[f"fcosrf_{layer}"], atol=1e-4, rtol=0)
    for level, points in enumerate(levels_of(grid, grid.points().numpy())):
        np.testing.assert_allclose(points, FIELDS[f"points_{layer}_l{level}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", ANCHORS)
def test_anchors(case: str) -> None:
    config: dict[str, Any] = dict(ANCHORS[case])
    sizes = [(h, w) for h, w in config.pop("featmap_hw")]
    config = {key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
    grid = Anchors(**config)(sizes)
    for level, boxes in enumerate(levels_of(grid, grid.boxes().numpy())):
        np.testing.assert_allclose(boxes, OPS[f"anchors/{case}/level{level}"], atol=1e-4, rtol=0)
    for key in OPS:
        if key.startswith(f"anchors/{case}/valid_"):
            height, width, level = (int(v[1:].lstrip("evl")) for v in key.split("_")[-3:])
            mask = levels_of(grid, grid.inside([(height, width)])[0].numpy())[level]
            np.testing.assert_array_equal(mask, OPS[key])


@pytest.mark.parametrize("key", [key for key in OPS if key.startswith("points/")])
def test_points(key: str) -> None:
    want = OPS[key]  # [n, 4] x, y, stride, stride
    offset, stride = float(key.split("/")[1].removeprefix("offset")), int(want[0, 2])
    columns, rows = ((want[:, :2].max(0) - want[:, :2].min(0)) / stride).round().astype(int) + 1
    grid = Points(strides=(stride,), offset=offset)([(int(rows), int(columns))])
    np.testing.assert_allclose(grid.points(), want[:, :2], atol=1e-4, rtol=0)
    np.testing.assert_allclose(grid.strides(), want[:, 2], atol=0, rtol=0)
