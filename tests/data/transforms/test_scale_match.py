import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from fake_data import make_sample
from motedet.data.transforms import AnyTransform, MonotoneScaleMatch, ScaleMatch
from motedet.errors import DataError


def write_sizes(path: Path, sizes: Sequence[float]) -> str:
    """An annotation file with square objects of these sizes, each in an image of its own."""
    rows = [{"bbox": [0, 0, s, s], "image_id": i} for i, s in enumerate(sizes)]
    path.write_text(json.dumps({"annotations": rows}))
    return str(path)


@pytest.fixture(name="generator")
def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> str:
    return write_sizes(tmp_path / "target.json", [4.0 + i / 100 for i in range(200)])


def test_the_mean_object_gets_a_size_of_the_target(target: str, generator: torch.Generator) -> None:
    sample = make_sample([[8, 8, 24, 24]], size=(480, 640))
    transform = ScaleMatch(target=target, plus_one=False)
    found = [transform(sample, generator).boxes[0] for _ in range(30)]
    sides = [float(box[2] - box[0]) for box in found]
    assert 3.9 < min(sides) < 4.5
    assert 5.5 < max(sides) < 6.1
    assert len(set(sides)) > 10


def test_as_published_objects_come_out_smaller(target: str, generator: torch.Generator) -> None:
    sample = make_sample([[8, 8, 24, 24]], size=(480, 640))
    plain = ScaleMatch(target=target, plus_one=False)(sample, generator.manual_seed(5))
    published = ScaleMatch(target=target)(sample, generator.manual_seed(5))
    ratio = published.image_size[0] / plain.image_size[0]
    assert ratio == pytest.approx(16 / 17, abs=0.01)


def test_everything_follows_the_image(target: str, generator: torch.Generator) -> None:
    sample = replace(
        make_sample([[8, 8, 24, 24], [30, 30, 32, 60], [40, 40, 72, 56]]),
        ignore_boxes=torch.tensor([[0.0, 0.0, 32.0, 16.0], [1.0, 1.0, 2.0, 9.0]]),
    )
    found = ScaleMatch(target=target, scale_range=(0.499, 0.501))(sample, generator)
    assert found.image_size == found.padded_size == (24, 32)
    assert found.image.shape == (3, 24, 32)
    assert found.image.dtype == torch.uint8
    assert found.original_size == (48, 64)
    assert found.boxes.tolist() == [[4, 4, 12, 12], [15, 15, 16, 24], [20, 20, 32, 24]]
    assert found.labels.tolist() == [0, 1, 2]
    assert found.ignore_boxes.tolist() == [[0, 0, 16, 8]]


def test_objects_under_a_pixel_are_left_out(target: str, generator: torch.Generator) -> None:
    sample = make_sample([[8, 8, 40, 40], [1, 1, 4, 4]])
    fixed = ScaleMatch(target=target, scale_range=(0.249, 0.251), out_of_range="default")
    assert fixed(sample, generator).labels.tolist() == [0]
    assert replace(fixed, min_side=0.5)(sample, generator).labels.tolist() == [0, 1]


def test_images_without_objects_take_the_default(target: str, generator: torch.Generator) -> None:
    found = ScaleMatch(target=target, default_scale=0.5)(make_sample(), generator)
    assert found.image_size == (24, 32)
    assert found.boxes.shape == (0, 4)


def test_randomness_is_the_generators(target: str) -> None:
    sample = make_sample([[8, 8, 24, 24]], size=(480, 640))
    transform = ScaleMatch(target=target)
    one, other, third = (
        transform(sample, torch.Generator().manual_seed(seed)).image_size for seed in (1, 1, 2)
    )
    assert one == other != third


def test_antialias_averages(target: str, generator: torch.Generator) -> None:
    sample = make_sample(size=(64, 64))
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, 9, 9] = 255  # a point between the samples of a bilinear quarter
    sample = replace(sample, image=pixels)
    averaged = ScaleMatch(target=target)(sample, generator)
    sampled = ScaleMatch(target=target, antialias=False)(sample, generator)
    assert averaged.image.max() > 10
    assert sampled.image.max() in (0, 64)
    assert averaged.image_size == sampled.image_size == (16, 16)


def test_monotone_keeps_the_order_and_draws_nothing(
    target: str, tmp_path: Path, generator: torch.Generator
) -> None:
    source = write_sizes(tmp_path / "source.json", [10.0 + i / 10 for i in range(200)])
    transform = MonotoneScaleMatch(target=target, source=source, plus_one=False)
    before = generator.get_state()
    sides = []
    for side in (10, 20, 29):
        sample = make_sample([[0, 0, side, side]], size=(480, 640))
        sides.append(float(transform(sample, generator).boxes[0, 2]))
    assert sides == sorted(sides)
    assert sides == pytest.approx([4, 5, 5.9], abs=0.1)
    assert torch.equal(generator.get_state(), before)


def test_monotone_may_compare_with_images(tmp_path: Path, target: str) -> None:
    rows = [{"bbox": [0, 0, s, s], "image_id": 0} for s in (5, 20)]
    rows += [{"bbox": [0, 0, s, s], "image_id": 1} for s in (10, 40)]
    source = tmp_path / "source.json"
    source.write_text(json.dumps({"annotations": rows}))
    objects = MonotoneScaleMatch(target=target, source=str(source))
    images = replace(objects, source_per_image=True)
    assert objects.sizes.source[[0, -1]].tolist() == [5, 40]
    assert images.sizes.source[[0, -1]].tolist() == pytest.approx([10, 20])


def test_monotone_towards_a_normal_distribution(tmp_path: Path, generator: torch.Generator) -> None:
    source = write_sizes(tmp_path / "source.json", [10.0 + i / 10 for i in range(200)])
    transform = MonotoneScaleMatch(source=source, gaussian=(1.5, 0.2), plus_one=False)
    transform.check()
    sample = make_sample([[0, 0, 20, 20]], size=(480, 640))
    assert float(transform(sample, generator).boxes[0, 2]) == pytest.approx(4.48, abs=0.1)


def test_files_are_read_once(target: str, generator: torch.Generator) -> None:
    transform = ScaleMatch(target=target)
    transform.check()
    Path(target).unlink()
    transform(make_sample([[8, 8, 24, 24]]), generator)
    ScaleMatch(target=target, default_scale=0.5).check()  # the same histogram


def test_unusable_files_name_the_key(tmp_path: Path, generator: torch.Generator) -> None:
    sample = make_sample([[8, 8, 24, 24]])
    with pytest.raises(DataError, match=r"scale_match: `target` is not set; .*--set data.train_t"):
        ScaleMatch()(sample, generator)
    gone = str(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"`target`: .*none.json: .*train_transforms.0.target=FILE"):
        ScaleMatch(target=gone).check()
    empty = write_sizes(tmp_path / "empty.json", [])
    with pytest.raises(DataError, match=r"`target`: .*empty.json: no usable boxes"):
        ScaleMatch(target=empty)(sample, generator)
    good = write_sizes(tmp_path / "good.json", [4, 5, 6])
    with pytest.raises(DataError, match="monotone_scale_match: `source` is not set"):
        MonotoneScaleMatch(target=good).check()
    with pytest.raises(DataError, match=r"`source`: .*transforms.0.source=FILE"):
        MonotoneScaleMatch(target=good, source=gone)(sample, generator)
    with pytest.raises(DataError, match="monotone_scale_match: `target` is not set"):
        MonotoneScaleMatch(source=good).check()


def test_recipes_are_read_without_files() -> None:
    adapter: TypeAdapter[AnyTransform] = TypeAdapter(AnyTransform)
    read = adapter.validate_python(
        {"kind": "monotone_scale_match", "target": "nowhere.json", "scale_range": [0.2, 2]}
    )
    assert read == MonotoneScaleMatch(target="nowhere.json", scale_range=(0.2, 2.0))
    assert isinstance(adapter.validate_python({"kind": "scale_match"}), ScaleMatch)
    assert adapter.dump_python(ScaleMatch(bins=50))["bins"] == 50


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="max_tries must be at least 1; got 0"):
        ScaleMatch(max_tries=0)
    with pytest.raises(ValueError, match="scale_range must be"):
        ScaleMatch(scale_range=(1.0, 0.1))
    with pytest.raises(ValueError, match="bins must be at least 3"):
        MonotoneScaleMatch(bins=2)
    with pytest.raises(ValueError, match="give `target` or `gaussian`, not both"):
        MonotoneScaleMatch(target="a.json", gaussian=(2.0, 0.5))
    with pytest.raises(ValueError, match="gaussian needs a positive deviation"):
        MonotoneScaleMatch(gaussian=(2.0, 0.0))
