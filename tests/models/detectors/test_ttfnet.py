"""What is particular to TTFNet: weights of boxes, the IoU branch, and how it decodes."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from motedet.assign import GaussianAssigner
from motedet.errors import RecipeError, ShapeError
from motedet.geometry import aligned_iou, decode_ltrb
from motedet.losses import HeatmapFocalLoss
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import AnyDetector, TTFNet, TTFNetSpec
from motedet.models.heads import SlimHeadSpec
from motedet.models.necks import FPNSpec, UpsamplingNeckSpec
from motedet.models.postprocess import Postprocess
from motedet.priors import Points
from motedet.structures import PackedTargets, Targets
from small_detectors import BACKBONE, SIZE, scene, small_specs


def _spec() -> TTFNetSpec:
    spec = small_specs()["ttfnet"]
    assert isinstance(spec, TTFNetSpec)
    return spec


def _detector(spec: TTFNetSpec | None = None) -> TTFNet:
    torch.manual_seed(0)
    return (spec or _spec()).build(2).eval()


def _outputs(
    logits: Tensor, ltrb: Tensor, iou: Tensor, *, size: tuple[int, int] = (16, 16)
) -> HeadOutputs:
    return HeadOutputs(logits, ltrb, iou, (size,))


def _random_outputs(num_images: int = 2) -> HeadOutputs:
    logits = torch.randn(num_images, 256, 2) - 2
    ltrb = torch.rand(num_images, 256, 4) * 2
    return _outputs(logits.requires_grad_(), ltrb.requires_grad_(), torch.randn(num_images, 256))


def _one(box: tuple[float, float, float, float]) -> Targets:
    return Targets.of(torch.tensor([box], dtype=torch.float32), torch.tensor([1]), (SIZE, SIZE))


def _none() -> Targets:
    return Targets.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (SIZE, SIZE))


def test_losses_by_definition() -> None:
    """Against sums over the dense maps of the assigner."""
    targets = scene()[1]
    outputs = _random_outputs()
    detector = _detector()
    grid = detector.spec.priors(outputs.level_sizes)
    maps = GaussianAssigner().maps(grid, PackedTargets.pack(targets), 2)
    truth = torch.cat([t.boxes for t in targets])[maps.match.gt_index.clamp(min=0)]  # [B, P, 4]
    boxes = decode_ltrb(grid.points(), 4 * outputs.boxes)  # [B, P, 4]
    weight, owned = maps.box_weight, maps.match.positive
    per_box = detector.spec.box_loss(boxes.flatten(0, 1), truth.flatten(0, 1)).view_as(weight)
    assert outputs.ctrness is not None
    error = (outputs.ctrness.sigmoid() - aligned_iou(boxes, truth)).abs()
    loss_cls = HeatmapFocalLoss()(outputs.logits, maps.heatmap).sum()
    expected = {
        "loss_cls": loss_cls / (maps.heatmap >= 0.1).sum(),
        "loss_box": (per_box * weight).sum() / (weight.sum() + 1e-4),
        "loss_iou": error[owned].mean(),
    }
    torch.testing.assert_close(detector.losses(outputs, targets), expected)


@pytest.mark.parametrize(
    "targets",
    [[_none(), _none()], [_one((21, 21, 25, 25)), _none()], [_one((30, 30, 30, 30)), _none()]],
    ids=["no object", "one positive cell", "an object of no weight"],
)
def test_few_positives(targets: list[Targets]) -> None:
    losses = _detector().losses(_random_outputs(), targets)
    assert all(value.isfinite() for value in losses.values())
    weighted = len(targets[0].boxes) > 0 and targets[0].boxes[0, 2] > targets[0].boxes[0, 0]
    assert bool(losses["loss_box"] > 0) == weighted
    assert bool(losses["loss_iou"] > 0) == weighted
    assert losses["loss_cls"] > 0


def test_a_heavier_box_counts_more() -> None:
    """One positive cell each, and weights ln 49 and ln 4: half a loss at the heavier or lighter."""
    targets = [_one((21, 21, 27, 27)), _one((23, 23, 24, 24))]
    outputs = _random_outputs()
    alone = [
        _detector().losses(_outputs(*(v[i : i + 1] for v in outputs[:3])), [targets[i]])["loss_box"]  # type: ignore[index]
        for i in (0, 1)
    ]
    both = _detector().losses(outputs, targets)["loss_box"]
    heavy, light = torch.tensor(49.0).log(), torch.tensor(4.0).log()
    expected = (heavy * alone[0] + light * alone[1]) / (heavy + light)
    torch.testing.assert_close(both, expected, rtol=1e-4, atol=0)


def test_the_iou_moves_boxes_unless_detached() -> None:
    outputs, targets = _random_outputs(), scene()[1]
    moved = []
    for detach in (False, True):
        detector = _detector(replace(_spec(), detach_iou=detach))
        loss = detector.losses(outputs, targets)["loss_iou"] + 0 * outputs.boxes.sum()
        (gradient,) = torch.autograd.grad(loss, outputs.boxes)
        moved.append(bool(gradient.abs().sum() > 0))
    assert moved == [True, False]


def test_weights_of_losses() -> None:
    outputs, targets = _random_outputs(), scene()[1]
    usual = _detector().losses(outputs, targets)
    spec = replace(_spec(), iou_weight=3.0, cls_loss=HeatmapFocalLoss(weight=2.0))
    found = _detector(spec).losses(outputs, targets)
    torch.testing.assert_close(found["loss_iou"], 3 * usual["loss_iou"])
    torch.testing.assert_close(found["loss_cls"], 2 * usual["loss_cls"])


def test_ignored_cells_take_no_part() -> None:
    outputs, targets = _random_outputs(1), scene()[1][:1]
    region = torch.tensor([[0.0, 32.0, SIZE, SIZE]])  # holds the third of three objects
    targets = [replace(targets[0], ignore_boxes=region)]
    detector = _detector(replace(_spec(), assigner=GaussianAssigner(ignore_iof=0.5)))
    total = torch.stack(list(detector.losses(outputs, targets).values())).sum()
    gradients = torch.autograd.grad(total, [outputs.logits, outputs.boxes])
    for gradient in gradients:
        rows = gradient[0].view(16, 16, -1).abs().sum((1, 2))  # [h]
        assert (rows[8:] == 0).all()
        assert (rows[:8] > 0).any()


def test_scores_are_class_times_iou_after_rank_and_threshold() -> None:
    """Cell 3 would win with its IoU; cell 5 is above the threshold by class alone."""
    logits = torch.full((1, 256, 2), -9.0)
    logits[0, 5], logits[0, 9] = torch.tensor([[2.0, 0.0], [1.0, -9.0]])
    logits[0, 3, 0] = 0.9
    iou = torch.zeros(1, 256)
    iou[0, 3], iou[0, 5] = 9.0, -4.0
    outputs = _outputs(logits, torch.ones(1, 256, 4), iou)
    rule = Postprocess(score_thresh=0.3, pre_nms=2, rank="priors")
    (found,) = _detector(replace(_spec(), postprocess=rule)).detections(outputs, [(64, 64)])
    probs = torch.tensor([1.0, 2.0, 0.0]).sigmoid() * torch.tensor([0.0, -4.0, -4.0]).sigmoid()
    torch.testing.assert_close(found.scores, probs)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.boxes[0].tolist() == [32, 0, 40, 4]  # of cell 9, at (36, 0)


def test_boxes_end_at_the_last_pixel() -> None:
    logits = torch.full((1, 256, 2), -9.0)
    logits[0, 255, 0] = 3.0
    outputs = _outputs(logits, torch.full((1, 256, 4), 2.0), torch.zeros(1, 256))
    (found,) = _detector().detections(outputs, [(63, 62)])
    assert found.boxes.tolist() == [[52, 52, 61, 62]]


def test_cells_can_have_their_point_in_the_middle() -> None:
    logits = torch.full((1, 256, 2), -9.0)
    logits[0, 17, 0] = 3.0
    outputs = _outputs(logits, torch.full((1, 256, 4), 0.5), torch.zeros(1, 256))
    middle = replace(_spec(), priors=Points(strides=(4,), offset=0.5))
    (found,) = _detector(middle).detections(outputs, [(64, 64)])
    assert found.boxes.tolist() == [[4, 4, 8, 8]]


@pytest.mark.parametrize("conv", ["deformable", "plain"])
def test_with_the_published_neck(conv: Literal["deformable", "plain"]) -> None:
    backbone = BackboneSpec(name="resnet18", out_stages=(1, 2, 3))
    neck = UpsamplingNeckSpec(widths=(32, 16), conv=conv)
    detector = replace(_spec(), backbone=backbone, neck=neck).build(2).train()
    losses = detector.loss(*scene())
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_published_recipe_in_its_defaults() -> None:
    spec: object = TypeAdapter[object](AnyDetector).validate_python({"kind": "ttfnet"})
    assert spec == TTFNetSpec()
    assert TTFNetSpec().neck.out_channels == 128
    assert TTFNetSpec().backbone.kind == "darknet53"


def test_bad_parts() -> None:
    with pytest.raises(ValueError, match="got priors with 5 levels and 1 per cell"):
        TTFNetSpec(priors=Points())
    with pytest.raises(ValueError, match=r"needs head\.boxes 'relu_stride'; got 'deltas'"):
        TTFNetSpec(head=SlimHeadSpec(boxes="deltas"))
    with pytest.raises(ValueError, match=r"needs head\.quality True; got False"):
        TTFNetSpec(head=SlimHeadSpec(quality=False))
    with pytest.raises(ValueError, match=r"iou_weight must not be negative; got -1\.0"):
        TTFNetSpec(iou_weight=-1.0)
    with pytest.raises(ValidationError, match="'slim'"):
        TypeAdapter[object](AnyDetector).validate_python(
            {"kind": "ttfnet", "head": {"kind": "fcos"}}
        )
    with pytest.raises(RecipeError, match=r"\(4, 8, 16\) must be those of the priors \(4,\)"):
        replace(_spec(), backbone=BACKBONE, neck=FPNSpec(num_outs=3, extra="none")).build(2)
    outputs = _random_outputs()._replace(ctrness=None)
    with pytest.raises(ShapeError, match="got None"):
        _detector().losses(outputs, scene()[1])
