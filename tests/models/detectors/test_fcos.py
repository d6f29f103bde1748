"""What is particular to FCOS: centre-ness targets and the options of its losses."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter

from motedet.assign import GaussianAssigner, Hierarchical
from motedet.models.dense import CtrnessFrom, HeadOutputs
from motedet.models.detectors import FCOSSpec
from motedet.models.heads import FCOSHeadSpec, SlimHeadSpec
from motedet.priors import ReceptiveFields
from motedet.structures import Targets
from small_detectors import scene, small_specs


def _spec(name: str) -> FCOSSpec:
    spec = small_specs()[name]
    assert isinstance(spec, FCOSSpec)
    return spec


def test_losses_have_a_ctrness_term_only_with_the_branch() -> None:
    images, targets = scene()
    assert set(_spec("fcos").build(2).loss(images, targets)) == {"loss_cls", "loss_box", "loss_ctr"}
    assert set(_spec("fcos_rfla").build(2).loss(images, targets)) == {"loss_cls", "loss_box"}


def test_box_loss_per_positive() -> None:
    """A perfect prediction has no box loss under either weighting."""
    images, targets = scene()
    for weight in ("ctrness", "none"):
        spec = replace(_spec("fcos_rfla"), box_weight=weight)
        detector = spec.build(2).eval()
        losses = detector.loss(images, targets)
        assert 0 < losses["loss_box"] < 2 * spec.box_loss.weight


def test_ignored_points_can_count_as_background() -> None:
    images, targets = scene()
    region = torch.tensor([[0.0, 32.0, 64.0, 64.0]])
    targets = [replace(t, ignore_boxes=region) for t in targets]
    spec = _spec("fcos_rfla")
    assert isinstance(spec.assigner, Hierarchical)
    spec = replace(spec, assigner=replace(spec.assigner, ignore_iof=0.1))
    ignoring = spec.build(2).eval()
    counting = replace(spec, ignored_as_background=True).build(2).eval()
    counting.load_state_dict(ignoring.state_dict())
    less, more = ignoring.loss(images, targets), counting.loss(images, targets)
    assert more["loss_cls"] > less["loss_cls"] + 1e-6
    torch.testing.assert_close(more["loss_box"], less["loss_box"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("distances", (4 / 6 * 4 / 8) ** 0.5),
        ("padded_distances", (5 / 7 * 5 / 9) ** 0.5),
        ("corners", (20 / 30 * 22 / 34) ** 0.5),
    ],
)
def test_what_the_ctrness_target_is_made_of(source: CtrnessFrom, expected: float) -> None:
    """One object and one positive cell, whose point is (26, 30)."""
    image = Targets.of(torch.tensor([[20.0, 22, 30, 34]]), torch.tensor([0]), (64, 64))
    spec = replace(
        _spec("fcos_gaussian"), assigner=GaussianAssigner(max_side=1.0), ctrness_from=source
    )
    ctrness = torch.zeros(1, 256, requires_grad=True)
    outputs = HeadOutputs(torch.zeros(1, 256, 2), torch.ones(1, 256, 4), ctrness, ((16, 16),))
    losses = spec.build(2).losses(outputs, [image])
    (gradient,) = torch.autograd.grad(losses["loss_ctr"], ctrness)
    cell = 7 * 16 + 6
    assert gradient[0].nonzero().tolist() == [[cell]]
    assert 0.5 - gradient[0, cell].item() == pytest.approx(expected, abs=1e-6)


def test_corners_out_of_the_image_are_finite() -> None:
    images, targets = scene()
    outside = torch.tensor([[-3.0, 12, 9, 20], [-9, -9, -1, -1]])
    boxes = torch.cat((outside, targets[0].boxes))
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    targets = [Targets.of(boxes, labels, (64, 64)), targets[1]]
    losses = small_specs()["fcos_gaussian"].build(2).train().loss(images, targets)
    assert all(value.isfinite() for value in losses.values())


def test_the_gaussian_assigner_needs_one_level() -> None:
    with pytest.raises(ValueError, match="got priors with 5 levels and 1 per cell"):
        FCOSSpec(assigner=GaussianAssigner())
    with pytest.raises(ValueError, match="got priors with 1 levels and 3 per cell"):
        FCOSSpec(
            assigner=GaussianAssigner(),
            priors=ReceptiveFields(strides=(4,), ratios=(0.5, 1.0, 2.0)),
        )


def test_head_without_a_kind_is_its_own() -> None:
    adapter = TypeAdapter(FCOSSpec)
    old = adapter.validate_python({"kind": "fcos", "head": {"channels": 64}})
    assert old.head == FCOSHeadSpec(channels=64)
    slim = adapter.validate_python({"kind": "fcos", "head": {"kind": "slim", "box_channels": 32}})
    assert slim.head == SlimHeadSpec(box_channels=32)
    assert adapter.validate_python(adapter.dump_python(slim)) == slim
    with pytest.raises(ValueError, match=r"needs head\.boxes 'relu_stride'; got 'deltas'"):
        FCOSSpec(head=SlimHeadSpec(boxes="deltas"))
