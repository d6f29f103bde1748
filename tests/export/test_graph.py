"""The exported module, run by torch, finds what the detector finds."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import nn

from motedet.data.transforms import (
    AnyTransform,
    HorizontalFlip,
    Normalise,
    Pad,
    Resize,
    ResizeKeepRatio,
    Scale,
)
from motedet.errors import RecipeError
from motedet.export import ExportError
from motedet.export.candidates import best
from motedet.export.comparison import compare_detections
from motedet.export.graph import graph_of, hardened
from motedet.export.grids import grid_tables, single_cells
from motedet.export.preparation import Normalised, Preparation
from motedet.geometry import SoftNMS
from motedet.models.atrous import ConvAWS2d
from motedet.models.detectors import Detector
from motedet.priors import Anchors, Points, ReceptiveFields
from motedet.structures import Detections
from raised_detectors import raised, small
from small_detectors import small_specs

PREPARATION = Preparation.of([Normalise(), Pad()])
PREPARATION_MODULE = Normalised(PREPARATION)
SIZES = [(64, 96), (50, 60), (33, 96)]


def found_by_graph(detector: Detector, images: torch.Tensor) -> list[Detections]:
    graph = graph_of(detector, PREPARATION)
    with torch.no_grad():
        image, boxes, scores, labels = graph(images, torch.tensor(SIZES))
    assert image.tolist() == sorted(image.tolist())
    return [
        Detections(boxes[image == i], scores[image == i], labels[image == i])
        for i in range(len(SIZES))
    ]


@pytest.mark.parametrize("name", sorted(small_specs()))
def test_the_graph_finds_what_the_detector_finds(name: str) -> None:
    check_graph(small(name))


@pytest.mark.parametrize("rule", [SoftNMS(), SoftNMS(method="gaussian")])
def test_scores_are_lowered_alike(rule: SoftNMS) -> None:
    detector = small("fcos")
    spec: Any = detector.spec
    detector.spec = replace(spec, postprocess=replace(spec.postprocess, soft=rule))
    check_graph(detector)


def test_proposals_are_suppressed_by_nwd_alike() -> None:
    spec: Any = small_specs()["faster_rcnn"]
    rule = replace(spec.rpn.test_proposals, similarity="nwd", nms_iou=0.85)
    check_graph(raised(replace(spec, rpn=replace(spec.rpn, test_proposals=rule))))


def check_graph(detector: Detector) -> None:
    """Compare on three images."""
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    pixels = PREPARATION_MODULE(images, torch.tensor(SIZES))
    spec: Any = detector.spec
    expected = detector.predict(pixels, SIZES)
    assert any(len(d) for d in expected)
    for theirs, mine in zip(expected, found_by_graph(detector, images), strict=True):
        assert len(theirs) == len(mine)
        same = compare_detections(theirs, mine, spec.postprocess)
        assert same.missing == 0
        assert same.box < 1e-3
        assert same.score < 1e-5


@pytest.mark.parametrize("name", ["fcos", "ttfnet", "faster_rcnn"])
def test_nothing_found_is_an_empty_list(name: str) -> None:
    detector = small(name, bias=-20.0)
    spec: Any = detector.spec
    detector.spec = replace(spec, postprocess=replace(spec.postprocess, score_thresh=0.99))
    images = torch.zeros(3, 3, 64, 96, dtype=torch.uint8)
    assert [len(d) for d in found_by_graph(detector, images)] == [0, 0, 0]


def test_a_hardened_detector_leaves_the_other_alone() -> None:
    detector = raised(small_specs()["tinydet"])
    hard: Any = hardened(detector).spec
    soft: Any = detector.spec
    assert hard.postprocess.soft is None
    assert soft.postprocess.soft == SoftNMS()


def test_points_that_depend_on_the_regions_are_refused() -> None:
    spec: Any = small_specs()["tinydet"]
    detector = raised(replace(spec, pool=replace(spec.pool, sampling_ratio=0)))
    with pytest.raises(ExportError, match="set sampling_ratio to 2"):
        graph_of(detector, PREPARATION)


def test_filters_are_standardised_once() -> None:
    conv = ConvAWS2d(3, 4, 3)
    nn.init.normal_(conv.weight_gamma)
    detector = small("fcos")
    detector.add_module("standardised", conv)
    kept: Any = graph_of(detector, PREPARATION, half=True).network
    filters = kept.detector.standardised.standardised_weight()
    torch.testing.assert_close(filters, conv.standardised_weight().half())
    assert conv.weight.dtype == torch.float32
    assert not hasattr(conv, "filters")


def test_what_is_no_detector_of_the_library_is_named() -> None:
    with pytest.raises(ExportError, match="Identity cannot be exported"):
        graph_of(cast("Detector", nn.Identity()), PREPARATION)


@pytest.mark.parametrize(
    "priors",
    [
        Points(strides=(4, 8), offset=0.5),
        Anchors(strides=(4, 8), octave_base_scale=2),
        ReceptiveFields(strides=(4, 8), ratios=(0.5, 1.0, 2.0), offset=0.0),
    ],
)
def test_tables_are_those_of_the_grid(priors: Points | Anchors | ReceptiveFields) -> None:
    sizes = [(5, 7), (3, 4)]
    tables, grid = grid_tables(single_cells(priors), sizes), priors(sizes)
    assert torch.equal(tables.boxes, grid.boxes())
    assert torch.equal(tables.points, grid.points())
    assert torch.equal(tables.strides, grid.strides())


def test_best_are_sorted_and_at_most_all() -> None:
    values, places = best(torch.tensor([[1.0, 3.0, 2.0]]), 5)
    assert places.tolist() == [[1, 2, 0]]
    assert values.tolist() == [[3.0, 2.0, 1.0]]


def test_pixels_are_normalised_and_the_padding_is_blank() -> None:
    rule = Normalise(mean=(10, 20, 30), std=(2, 4, 5), bgr=True)
    module = Normalised(Preparation.of([rule, Pad(value=7.0)]))
    images = torch.full((1, 3, 2, 3), 50, dtype=torch.uint8)
    images[:, 0] = 100  # red
    pixels = module(images, torch.tensor([[1, 2]]))
    assert pixels[0, :, 0, 1].tolist() == [20.0, 7.5, 14.0]  # blue, green, red
    assert (pixels[0, :, 1] == 7).all()
    assert (pixels[0, :, :, 2] == 7).all()


def test_the_common_size_follows_the_last_resizing() -> None:
    rest: list[AnyTransform] = [Normalise(), Pad()]
    assert Preparation.of([Resize(size=(300, 320)), *rest]).size() == (320, 320)
    assert Preparation.of([ResizeKeepRatio(short=600, long=1000), *rest]).size() == (1024, 1024)
    assert Preparation.of([Scale(factor=2.0), *rest]).size() is None
    assert Preparation.of(rest).size() is None


def test_transforms_that_cannot_be_described_are_named() -> None:
    with pytest.raises(RecipeError, match="horizontal_flip"):
        Preparation.of([HorizontalFlip(), Normalise()])
    with pytest.raises(RecipeError, match="none"):
        Preparation.of([])
    with pytest.raises(RecipeError, match=r"use 64x96"):
        PREPARATION.check((60, 90))
