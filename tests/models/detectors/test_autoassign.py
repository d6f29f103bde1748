"""What is particular to AutoAssign: its loss on pairs against that on the whole table."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dense_autoassign import dense_autoassign
from motedet.assign import FCOSAssigner, Hierarchical
from motedet.checkpoints import load_state
from motedet.checkpoints.mmdet import rename_mmdet
from motedet.errors import RecipeError, ShapeError
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import AutoAssign, AutoAssignSpec
from motedet.priors import Anchors, ReceptiveFields
from motedet.structures import PackedTargets, Size, Targets
from small_detectors import scene, small_specs

CLASSES = 3
SIZE = (64, 64)
LEVELS: tuple[Size, ...] = ((16, 16), (8, 8), (4, 4))
FIELDS = ReceptiveFields(strides=(4, 8, 16), offset=0.0)


def _spec() -> AutoAssignSpec:
    spec = small_specs()["autoassign"]
    assert isinstance(spec, AutoAssignSpec)
    return spec


def _outputs(seed: int, num_images: int, dtype: torch.dtype = torch.float32) -> HeadOutputs:
    generator = torch.Generator().manual_seed(seed)
    num_priors = sum(h * w for h, w in LEVELS)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return HeadOutputs(
        logits=(noise(num_images, num_priors, CLASSES) - 1).requires_grad_(),
        boxes=(8 * noise(num_images, num_priors, 4) + 8).clamp(min=0).requires_grad_(),
        ctrness=noise(num_images, num_priors).requires_grad_(),
        level_sizes=LEVELS,
    )


def _batch(seed: int, counts: Sequence[int]) -> list[Targets]:
    """Objects of 0.5 to 30 px; some without area, some identical, some of another class."""
    generator = torch.Generator().manual_seed(seed)
    records = []
    for count in counts:
        center = 64 * torch.rand(count, 2, generator=generator)
        half = torch.exp(4 * torch.rand(count, 2, generator=generator) - 1.4)
        boxes = torch.cat((center - half, center + half), dim=1)
        labels = torch.randint(CLASSES, (count,), generator=generator)
        if count > 6:
            boxes[1, 2:] = boxes[1, :2]
            boxes[3] = boxes[2]
            boxes[5] = boxes[4]
            labels[3] = labels[2]
            labels[5] = (labels[4] + 1) % CLASSES
        records.append(Targets.of(boxes, labels, SIZE))
    return records


def _detector(spec: AutoAssignSpec, dtype: torch.dtype = torch.float32) -> AutoAssign:
    """With centre priors that differ by class and axis."""
    detector = spec.build(CLASSES).to(dtype)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        center = detector.bbox_head.center_prior
        center.mean.copy_(0.5 * torch.randn(CLASSES, 2, generator=generator))
        center.sigma.copy_(torch.randn(CLASSES, 2, generator=generator).exp())
    return detector


def _gradients(losses: dict[str, Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    total = torch.stack(list(losses.values())).sum()
    return torch.autograd.grad(total, leaves)


def _leaves(outputs: HeadOutputs, detector: AutoAssign) -> list[Tensor]:
    assert outputs.ctrness is not None
    center = detector.bbox_head.center_prior
    return [outputs.logits, outputs.boxes, outputs.ctrness, center.mean, center.sigma]


@pytest.mark.parametrize("topk", [None, 9], ids=["as published", "forced"])
@pytest.mark.parametrize(
    "counts",
    [(0,), (0, 0), (1,), (12, 0), (9, 3, 20)],
    ids=["no objects", "no objects twice", "one", "one image empty", "many"],
)
def test_equals_the_dense_form(counts: Sequence[int], topk: int | None) -> None:
    """In float64, where only a wrong formula makes a difference."""
    detector = _detector(replace(_spec(), force_topk=topk), torch.float64)
    center = detector.bbox_head.center_prior
    grid = detector.spec.priors(LEVELS)
    for seed in range(3):
        outputs, targets = _outputs(seed, len(counts), torch.float64), _batch(seed, counts)
        found = detector.losses(outputs, targets)
        expected = dense_autoassign(grid, outputs, targets, center.mean, center.sigma, topk=topk)
        leaves = _leaves(outputs, detector)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            _gradients(found, leaves), _gradients(expected, leaves), rtol=1e-7, atol=1e-10
        )
        if not sum(counts):
            assert found["loss_pos"] == found["loss_center"] == 0


@pytest.mark.parametrize("topk", [None, 4], ids=["as published", "forced"])
def test_bags_of_an_assigner_equal_the_dense_form(topk: int | None) -> None:
    spec = replace(_spec(), priors=FIELDS, bag=Hierarchical(topk=(4, 1)), force_topk=topk)
    detector = _detector(spec, torch.float64)
    outputs, targets = _outputs(5, 3, torch.float64), _batch(5, (9, 0, 14))
    grid, packed = FIELDS(LEVELS), PackedTargets.pack(targets)
    assert spec.bag is not None
    match = spec.bag(grid, packed)
    members = [
        index[:, None] == (packed.image_index == image).nonzero()[:, 0]
        for image, index in enumerate(match.gt_index)
    ]
    center = detector.bbox_head.center_prior
    found = detector.losses(outputs, targets)
    expected = dense_autoassign(
        grid, outputs, targets, center.mean, center.sigma, topk=topk, members=members
    )
    leaves = _leaves(outputs, detector)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        _gradients(found, leaves), _gradients(expected, leaves), rtol=1e-7, atol=1e-10
    )


def test_gradients_are_the_slopes_of_the_loss() -> None:
    """One number at a time in float64; no gradient flows through the weights of negatives."""
    detector = _detector(replace(_spec(), force_topk=3), torch.float64)
    targets = _batch(2, (4,))
    outputs = _outputs(2, 1, torch.float64)
    center = detector.bbox_head.center_prior
    assert outputs.ctrness is not None

    def loss(logits: Tensor, ctrness: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        given = HeadOutputs(logits, outputs.boxes, ctrness, LEVELS)
        parts = torch.func.functional_call(
            _Losses(detector),
            {"detector.bbox_head.center_prior.mean": mean,
             "detector.bbox_head.center_prior.sigma": sigma},
            (given, targets),
        )  # fmt: skip
        # its divisor is a number without gradient, and moves with sigma
        return torch.stack((parts["loss_pos"], parts["loss_center"]))

    inputs = (outputs.logits, outputs.ctrness, center.mean, center.sigma)
    assert torch.autograd.gradcheck(loss, inputs)


class _Losses(torch.nn.Module):
    """Makes `losses` what is called."""

    def __init__(self, detector: AutoAssign) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, outputs: HeadOutputs, targets: list[Targets]) -> dict[str, Tensor]:
        """The losses of raw outputs."""
        return self.detector.losses(outputs, targets)


def test_an_object_without_a_point_trains_only_if_forced() -> None:
    box = torch.tensor([[21.0, 21.0, 23.0, 23.0]])
    targets = [Targets.of(box, torch.tensor([1]), SIZE)]
    for topk in (None, 9):
        detector = _detector(replace(_spec(), force_topk=topk))
        outputs = _outputs(0, 1)
        losses = detector.losses(outputs, targets)
        (gradient,) = torch.autograd.grad(losses["loss_pos"], outputs.boxes)
        rows = gradient.abs().sum(-1).nonzero()
        assert (len(rows) == 0) == (topk is None)
        assert len(rows) <= (topk or 0)
        if topk is None:
            assert losses["loss_pos"] == 25  # 0.25 * 100
            assert losses["loss_center"] == 0


def test_ignore_boxes_play_no_part() -> None:
    detector, outputs = _detector(_spec()), _outputs(1, 1)
    (plain,) = _batch(1, (8,))
    ignoring = replace(plain, ignore_boxes=torch.tensor([[0.0, 0.0, 40.0, 40.0]]))
    assert detector.losses(outputs, [plain]) == detector.losses(outputs, [ignoring])


def test_published_rule_with_an_image_without_objects() -> None:
    spec = replace(
        _spec(), priors=FIELDS, force_topk=None, bag=Hierarchical(), bag_rule="published"
    )
    detector = _detector(spec)
    outputs = _outputs(3, 2)
    losses = detector.losses(outputs, _batch(3, (8, 0)))
    gradients = _gradients(losses, _leaves(outputs, detector))
    assert all(torch.isfinite(v) for v in losses.values())
    assert all(torch.isfinite(g).all() and g.any() for g in gradients)
    empty = detector.losses(outputs, _batch(3, (0, 0)))
    assert empty["loss_pos"] == empty["loss_center"] == 0


def test_trains_in_mixed_precision() -> None:
    detector = _spec().build(2).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = detector.loss(*scene())
    total = torch.stack(list(losses.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    assert total.dtype == torch.float32


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("part", ["logits", "boxes", "ctrness", "sigma"])
def test_diverged_predictions_are_told_by_the_loss(part: str, value: float) -> None:
    detector, outputs = _detector(_spec()), _outputs(6, 2)
    with torch.no_grad():
        if part == "sigma":
            detector.bbox_head.center_prior.sigma.fill_(value)
        else:
            outputs._asdict()[part].fill_(value)
    total = torch.stack(list(detector.losses(outputs, _batch(6, (9, 4))).values())).sum()
    assert torch.isfinite(total) == (value == torch.inf and part != "boxes")


def test_checkpoints_of_older_versions_load() -> None:
    trained, fresh = _detector(_spec()), _spec().build(CLASSES)
    old = {
        re.sub(
            r"bbox_head\.conv_(cls|reg|centerness)", r"bbox_head.fcos_\1", f"module.{name}"
        ): value
        for name, value in trained.state_dict().items()
    }
    assert "module.bbox_head.fcos_centerness.bias" in old
    load_state(fresh, rename_mmdet(old), source="test")
    for name, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_scores_are_probability_times_objectness() -> None:
    detector = _spec().build(CLASSES).eval()
    outputs = _outputs(4, 1)
    (found,) = detector.detections(outputs, [SIZE])
    assert outputs.ctrness is not None
    every = outputs.logits.sigmoid() * outputs.ctrness.sigmoid()[..., None]
    assert len(found)
    assert torch.isin(found.scores, every).all()


def test_parts_that_do_not_fit_are_named() -> None:
    with pytest.raises(RecipeError, match="one box per cell, but priors gives 9"):
        replace(_spec(), priors=Anchors(strides=(4, 8, 16))).build(1)
    with pytest.raises(ValueError, match="force_topk must be at least 1 or None; got 0"):
        replace(_spec(), force_topk=0)
    for change in ({"bag": None, "force_topk": None}, {"bag": FCOSAssigner(), "force_topk": 9}):
        with pytest.raises(ValueError, match="needs a bag and no force_topk; got bag="):
            replace(_spec(), bag_rule="published", **change)
    with pytest.raises(ShapeError, match="objectness logits"):
        _spec().build(CLASSES).losses(_outputs(0, 1)._replace(ctrness=None), _batch(0, (1,)))
