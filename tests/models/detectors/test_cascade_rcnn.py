"""What is particular to Cascade R-CNN: stages that refine, their weights, the mean logits."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from motedet.models.detectors import CascadeRCNN, CascadeRCNNSpec, cascade_rcnn
from motedet.models.heads import BoxHead, BoxHeadSpec
from motedet.models.proposals import Proposals
from motedet.models.rois import Rois, SampledRois, sample_rois
from motedet.structures import Targets
from small_detectors import SIZE, scene, small_specs


def _spec(**changes: Any) -> CascadeRCNNSpec:  # noqa: ANN401 - fields of the spec
    spec = small_specs()["cascade_rcnn"]
    assert isinstance(spec, CascadeRCNNSpec)
    return replace(spec, **changes)


def _detector(**changes: Any) -> CascadeRCNN:  # noqa: ANN401 - fields of the spec
    torch.manual_seed(0)
    return _spec(**changes).build(2).eval()


def test_published_stages() -> None:
    stages = CascadeRCNNSpec().stages
    assert [s.match.pos_iou for s in stages] == [0.5, 0.6, 0.7]
    assert [s.coder.std[0] for s in stages] == [0.1, 0.05, 0.033]
    assert [s.coder.std[2] for s in stages] == [0.2, 0.1, 0.067]
    assert [s.weight for s in stages] == [1, 0.5, 0.25]


@pytest.mark.parametrize("count", [0, 1])
def test_zero_objects_or_one(count: int) -> None:
    images, (first, _) = scene()
    target = Targets.of(first.boxes[:count], first.labels[:count], (SIZE, SIZE))
    losses = _detector().loss(images[:1], [target])
    stages = {f"loss_{kind}_{i}" for kind in ("cls", "box") for i in range(3)}
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_box"} | stages
    assert all(torch.isfinite(value) for value in losses.values())


def test_stage_weights() -> None:
    images, targets = scene()
    stages = _spec().stages
    doubled = tuple(replace(s, weight=2 * s.weight) for s in stages)
    once, twice = (_detector(stages=s).loss(images, targets) for s in (stages, doubled))
    for name, value in once.items():
        factor = 1 if "rpn" in name else 2
        torch.testing.assert_close(twice[name], factor * value)


def test_the_order_of_images_changes_nothing() -> None:
    detector = _detector()
    images, targets = scene()
    targets = [replace(t, seed=i) for i, t in enumerate(targets)]
    there = detector.loss(images, targets)
    back = detector.loss(images.flip(0), targets[::-1])
    for name, value in there.items():
        torch.testing.assert_close(back[name], value, rtol=1e-4, atol=1e-6)


def test_refined_boxes_go_on_without_the_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Rois] = []
    chosen: list[SampledRois] = []

    def spy(proposals: Rois, *args: Any, **kwargs: Any) -> SampledRois:  # noqa: ANN401
        given.append(proposals)
        chosen.append(sample_rois(proposals, *args, **kwargs))
        return chosen[-1]

    monkeypatch.setattr(cascade_rcnn, "sample_rois", spy)
    _detector().loss(*scene())
    assert len(given) == 3
    for before, after in zip(chosen[:-1], given[1:], strict=True):
        assert before.is_object.any()
        assert torch.equal(after.image, before.rois.image[~before.is_object])
        assert not after.boxes.requires_grad
        # Fresh heads hardly move anything.
        mine = before.rois.boxes[~before.is_object]
        assert (after.boxes - mine).abs().max() < 2


def test_stages_draw_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    salts = []

    def spy(*args: Any, salt: int, **kwargs: Any) -> SampledRois:  # noqa: ANN401
        salts.append(salt)
        return sample_rois(*args, salt=salt, **kwargs)

    monkeypatch.setattr(cascade_rcnn, "sample_rois", spy)
    _detector().loss(*scene())
    assert len(set(salts)) == 3
    assert 0 not in salts  # the proposal network's


def test_logits_are_means_and_boxes_of_the_last_stage() -> None:
    detector = _detector()
    stages = detector.roi_head["bbox_head"]
    assert isinstance(stages, torch.nn.ModuleList)
    for number, stage in enumerate(stages):
        assert isinstance(stage, BoxHead)
        torch.nn.init.zeros_(stage.fc_cls.weight)
        torch.nn.init.constant_(stage.fc_cls.bias, number)
        torch.nn.init.zeros_(stage.fc_reg.weight)
        torch.nn.init.zeros_(stage.fc_reg.bias)
        stage.fc_reg.bias.data[0] = 1.0  # to the right by `std` widths
    outputs = detector(scene()[0])
    torch.testing.assert_close(outputs.second.logits, torch.ones_like(outputs.second.logits))
    first = Rois.of(detector.rpn_head.proposals(outputs.rpn, [(SIZE, SIZE)] * 2, phase="test"))
    width = first.boxes[:, 2] - first.boxes[:, 0]
    inside = first.boxes[:, 2] + 0.15 * width <= SIZE  # not clipped on the way
    assert inside.any()
    moved = outputs.rois.boxes[inside, 0] - first.boxes[inside, 0]
    torch.testing.assert_close(moved, 0.15 * width[inside], rtol=1e-4, atol=1e-4)


def test_a_cascade_needs_stages_that_refine_one_box() -> None:
    with pytest.raises(ValueError, match="at least one stage; got none"):
        _spec(stages=())
    with pytest.raises(ValueError, match="class_agnostic must be true"):
        _spec(head=BoxHeadSpec())


@pytest.mark.parametrize("objects", [False, True], ids=["no objects", "objects"])
def test_no_proposals_at_all(objects: bool) -> None:
    nothing = Proposals(min_box_size=1000)
    rpn = replace(_spec().rpn, train_proposals=nothing, test_proposals=nothing)
    detector = _detector(rpn=rpn)
    losses = detector.loss(*scene(objects=objects))
    assert all(torch.isfinite(value) for value in losses.values())
    assert (losses["loss_cls_0"] > 0) == objects  # objects are regions of the first stage
    assert losses["loss_cls_1"] == 0 or objects
    assert [len(found) for found in detector.predict(scene()[0])] == [0, 0]


def test_one_stage() -> None:
    detector = _detector(stages=_spec().stages[:1])
    assert "loss_box_0" in detector.loss(*scene())
    assert len(detector.predict(scene()[0])) == 2
