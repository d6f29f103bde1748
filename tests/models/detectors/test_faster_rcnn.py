"""What is particular to Faster R-CNN: two stages of losses, sampling by seed, any proposals."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from motedet.errors import RecipeError
from motedet.models.detectors import FasterRCNN, FasterRCNNSpec
from motedet.models.necks import FPNSpec
from motedet.models.proposals import Proposals
from motedet.structures import Targets
from small_detectors import SIZE, scene, small_specs

NAMES = {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box"}


def _spec(**changes: Any) -> FasterRCNNSpec:  # noqa: ANN401 - fields of the spec
    spec = small_specs()["faster_rcnn"]
    assert isinstance(spec, FasterRCNNSpec)
    return replace(spec, **changes)


def _detector(**changes: Any) -> FasterRCNN:  # noqa: ANN401 - fields of the spec
    torch.manual_seed(0)
    return _spec(**changes).build(2).eval()


def _seeded(targets: list[Targets]) -> list[Targets]:
    return [replace(t, seed=10 + i) for i, t in enumerate(targets)]


def test_losses_have_names() -> None:
    losses = _detector().loss(*scene())
    assert set(losses) == NAMES
    assert all(value.ndim == 0 for value in losses.values())


@pytest.mark.parametrize("count", [0, 1])
def test_zero_objects_or_one(count: int) -> None:
    images, (first, _) = scene()
    target = Targets.of(first.boxes[:count], first.labels[:count], (SIZE, SIZE))
    losses = _detector().loss(images[:1], [target])
    assert all(torch.isfinite(value) for value in losses.values())
    assert (losses["loss_rpn_box"] + losses["loss_box"] > 0) == (count > 0)


def test_the_order_of_images_changes_nothing() -> None:
    detector = _detector()
    images, targets = scene()
    targets = _seeded(targets)
    there = detector.loss(images, targets)
    back = detector.loss(images.flip(0), targets[::-1])
    for name in NAMES:
        torch.testing.assert_close(back[name], there[name], rtol=1e-4, atol=1e-6)


def test_the_seed_decides_what_is_sampled() -> None:
    detector = _detector()
    images, targets = scene()
    values = []
    for seed in (0, 0, 1):
        records = [replace(t, seed=seed) for t in targets]
        values.append(detector.loss(images, records)["loss_cls"].item())
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("objects", [False, True], ids=["no objects", "objects"])
def test_no_proposals_at_all(objects: bool) -> None:
    nothing = Proposals(min_box_size=1000)
    rpn = replace(_spec().rpn, train_proposals=nothing, test_proposals=nothing)
    detector = _detector(rpn=rpn)
    images, targets = scene(objects=objects)
    losses = detector.loss(images, targets)
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
    assert [len(found) for found in detector.predict(images)] == [0, 0]


def test_training_and_prediction_have_their_own_numbers_of_proposals() -> None:
    rpn = replace(_spec().rpn, test_proposals=Proposals(max_per_image=3))
    detector = _detector(rpn=rpn)
    outputs = detector(scene()[0])
    assert outputs.rois.image.tolist() == [0, 0, 0, 1, 1, 1]
    assert outputs.second.logits.shape == (6, 3)
    assert outputs.second.deltas.shape == (6, 8)


def test_proposals_lie_in_their_images() -> None:
    sizes = [(SIZE, 40), (30, SIZE)]
    rois = _detector().outputs(scene()[0], sizes).rois
    for image, (height, width) in enumerate(sizes):
        boxes = rois.boxes[rois.image == image]
        assert boxes.min() >= 0
        assert boxes[:, 2].max() <= width
        assert boxes[:, 3].max() <= height


def test_levels_that_do_not_fit_are_named() -> None:
    with pytest.raises(RecipeError, match=r"\(4, 8, 16, 32\).*\(4, 8, 16\)"):
        _spec(neck=FPNSpec(out_channels=32, num_outs=4, extra="pool")).build(2)
