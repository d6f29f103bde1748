"""Transforms as parts of a recipe."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from fake_data import make_sample
from motedet.data.transforms import AnyTransform, Compose, HorizontalFlip, Normalise, Pad, Scale

ADAPTER: TypeAdapter[tuple[AnyTransform, ...]] = TypeAdapter(tuple[AnyTransform, ...])
KINDS = [
    "colour_jitter",
    "copy_paste",
    "expand",
    "horizontal_flip",
    "min_iou_crop",
    "normalise",
    "pad",
    "photometric_distortion",
    "random_crop",
    "random_rotate90",
    "random_scale",
    "resize",
    "resize_keep_ratio",
    "scale",
    "vertical_flip",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults_dumps_back_and_runs(kind: str) -> None:
    (transform,) = ADAPTER.validate_python([{"kind": kind}])
    assert transform.kind == kind
    assert ADAPTER.validate_json(ADAPTER.dump_json((transform,))) == (transform,)
    sample = transform(make_sample([[1, 2, 3, 4]]), torch.Generator().manual_seed(0))
    assert sample.boxes.shape[1] == 4
    assert tuple(sample.image.shape[1:]) == sample.padded_size


def test_bad_values_and_kinds_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"prob must lie in \[0, 1\]; got 2.0"):
        ADAPTER.validate_python([{"kind": "horizontal_flip", "prob": 2}])
    with pytest.raises(ValidationError, match="'colour_jitter', 'copy_paste'"):
        ADAPTER.validate_python([{"kind": "mosaic"}])


def test_compose_applies_in_order() -> None:
    compose = Compose([HorizontalFlip(prob=1.0), Scale(factor=2.0), Normalise(), Pad(divisor=50)])
    sample = compose(make_sample([[0, 0, 4, 4]]), torch.Generator())
    assert sample.boxes.tolist() == [[120, 0, 128, 8]]
    assert (sample.image_size, sample.padded_size) == ((96, 128), (100, 150))
    assert Compose([])(sample, torch.Generator()) is sample
