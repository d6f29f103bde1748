"""What is particular to FCOS: centre-ness targets and the options of its losses."""

from dataclasses import replace

import torch

from motedet.assign import Hierarchical
from motedet.models.detectors import FCOSSpec
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
