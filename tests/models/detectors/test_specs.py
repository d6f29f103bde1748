"""Detectors as recipes have them: validated from plain values, and dumped back."""

import pytest
from pydantic import TypeAdapter, ValidationError

from motedet.errors import RecipeError
from motedet.losses import DIoULoss
from motedet.models.detectors import AnyDetector, FCOSSpec, RetinaNetSpec
from small_detectors import small_specs

ADAPTER: TypeAdapter[AnyDetector] = TypeAdapter(AnyDetector)


@pytest.mark.parametrize("name", small_specs())
def test_round_trip(name: str) -> None:
    spec = small_specs()[name]
    assert ADAPTER.validate_json(ADAPTER.dump_json(spec)) == spec


def test_parts_are_told_apart_by_kind() -> None:
    spec = ADAPTER.validate_python({"kind": "retinanet", "box_loss": {"kind": "diou"}})
    assert isinstance(spec, RetinaNetSpec)
    assert spec.box_loss == DIoULoss()
    with pytest.raises(ValidationError, match="box_loss"):
        ADAPTER.validate_python({"kind": "retinanet", "box_loss": {"kind": "focal"}})
    with pytest.raises(ValidationError, match="retinanet"):
        ADAPTER.validate_python({"kind": "yolo"})


def test_levels_that_do_not_fit_are_named() -> None:
    spec = FCOSSpec(priors=small_specs()["fcos"].priors)
    with pytest.raises(RecipeError, match=r"\(8, 16, 32, 64, 128\).*\(4, 8, 16\)"):
        spec.build(1)


@pytest.mark.parametrize("kind", ["max_iou", "atss", "hierarchical", "nwd_rka"])
def test_rules_that_compare_boxes_refuse_points(kind: str) -> None:
    for detector in ("fcos", "retinanet"):
        model = {"kind": detector, "priors": {"kind": "points"}, "assigner": {"kind": kind}}
        with pytest.raises(ValidationError, match=f"{kind}.*compares boxes, but priors 'points'"):
            ADAPTER.validate_python(model)


@pytest.mark.parametrize(("kind", "name"), [("fcos", "FCOS"), ("atss", "ATSS")])
def test_one_box_per_cell(kind: str, name: str) -> None:
    model = {"kind": kind, "priors": {"kind": "anchors"}, "assigner": {"kind": "max_iou"}}
    with pytest.raises(ValidationError, match=f"{name} predicts one box per cell.* has 9"):
        ADAPTER.validate_python(model)
