"""TinyDet S, M and L as their recipes build them, against the outputs of the published code."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_detectors import unmatched
from golden_tinydet import (
    LAST_PIXEL,
    MODELS,
    arrays,
    assert_same_stats,
    below,
    half_open,
    published_state,
    rnd,
)
from motedet.assign.sampling import Drawn
from motedet.checkpoints import load_state, read_mmdet, rename_mmdet
from motedet.checkpoints.tinydet import is_tinydet, rename_tinydet
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import FasterRCNN
from motedet.models.heads.roi import roi_detections, roi_losses
from motedet.models.postprocess import Candidates, Suppression, clip_to_images
from motedet.models.rois import Rois, SampledRois, sample_rois
from motedet.structures import Detections, PackedTargets, Size, Targets

Array = NDArray[Any]

every_model = pytest.mark.parametrize("key", MODELS)
whole = pytest.mark.parametrize(
    ("key", "tag"), [(key, tag) for key in MODELS for tag in ("small", "full")]
)


@cache
def _detector(key: str) -> FasterRCNN:
    """With the weights of the README, its batch-norm as in training done."""
    detector = MODELS[key].spec.build(80).eval()
    state = rename_tinydet(rename_mmdet(published_state(key)))
    load_state(detector, state, source=key)
    return detector


@every_model
def test_published_files_load(key: str, tmp_path: Path) -> None:
    """All names and shapes of the manifest, and no others; the background comes last."""
    published = published_state(key, scaled=False)
    assert is_tinydet(published)
    path = tmp_path / f"tinydet_{key}.pth"
    torch.save({"meta": {"epoch": 240}, "state_dict": published}, path)
    detector = MODELS[key].spec.build(80)
    detector.load_state_dict(read_mmdet(path), strict=True)
    assert len(detector.state_dict()) == len(published) == (344 if key == "S" else 406)
    assert sum(p.numel() for p in detector.parameters()) == (2573037 if key == "S" else 5120706)
    state = below(detector.state_dict(), "roi_head.")
    for kind in ("weight", "bias"):
        rows = published[f"bbox_head.fc_cls.{kind}"]
        assert torch.equal(state[f"bbox_head.fc_cls.{kind}"], torch.cat((rows[1:], rows[:1])))


# One image.


@dataclass(frozen=True)
class Run:
    """What a detector makes of the stored image."""

    detector: FasterRCNN
    features: list[Tensor]
    levels: list[Tensor]
    rpn: HeadOutputs
    stored: dict[str, Array]

    @property
    def sizes(self) -> list[Size]:
        """Of the one image."""
        height, width = self.stored["input_shape"][2:].tolist()
        return [(height, width)]


@cache
def _run(key: str, tag: str) -> Run:
    of_case = {n: v for n, v in arrays(f"e2e_{key}").items() if n.startswith(f"{tag}.")}
    stored = {n.removeprefix(f"{tag}."): v for n, v in of_case.items()}
    detector = _detector(key)
    with torch.no_grad():
        features = detector.backbone(rnd(int(stored["seed"]), stored["input_shape"].tolist()))
        levels = detector.neck(features)
        rpn = detector.rpn_head(levels)
    return Run(detector, features, levels, rpn, stored)


@whole
def test_maps(key: str, tag: str) -> None:
    run = _run(key, tag)
    _check_maps(run.features, run.stored, "backbone", 4)
    _check_maps(run.levels, run.stored, "neck", 4)
    _check_maps(_as_maps(run.rpn.logits, run.rpn), run.stored, "rpn_cls", 3)
    _check_maps(_as_maps(run.rpn.boxes, run.rpn), run.stored, "rpn_reg", 12)


def _as_maps(values: Tensor, rpn: HeadOutputs) -> list[Tensor]:
    """One [1, A * C, h, w] per level from [1, P, C], with three priors A per cell."""
    parts = torch.split(values, [3 * h * w for h, w in rpn.level_sizes], dim=1)
    shaped = zip(parts, rpn.level_sizes, strict=True)
    return [part.reshape(1, h, w, -1).permute(0, 3, 1, 2) for part, (h, w) in shaped]


def _check_maps(maps: Sequence[Tensor], stored: dict[str, Any], name: str, parts: int) -> None:
    """Maps [1, C, h, w] against their statistics, and what is stored of each or the whole."""
    for i, found in enumerate(maps):
        _, channels, _, width = found.shape
        step, place = max(1, channels // parts), max(1, width // 10)
        assert_same_stats(found, stored[f"{name}{i}.stats"], 1e-4)
        if (all_of_it := stored.get(f"{name}{i}")) is not None:
            _relative(found, all_of_it, 1e-4)
        if (part := stored.get(f"{name}{i}.slice")) is not None:
            _relative(found[0, ::step, ::place, ::place], part, 1e-4)


def _relative(found: Tensor, expected: Array, limit: float) -> None:
    """Within a part of the largest value, because deep random stacks grow."""
    atol = limit * float(np.abs(expected).max())
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=atol)


@whole
def test_proposals(key: str, tag: str) -> None:
    run = _run(key, tag)
    (found,) = run.detector.rpn_head.proposals(run.rpn, run.sizes, phase="test")
    _check_set(found, run.stored["proposals"], np.zeros(200, np.int64))


@whole
def test_regions(key: str, tag: str) -> None:
    """Of the stored proposals: their levels, features, logits and deltas."""
    run, pool = _run(key, tag), MODELS[key].pool
    rois = _stored_rois(run)
    with torch.no_grad():
        pooled = pool(run.levels, MODELS[key].strides, rois)
        outputs = run.detector.second_stage(run.levels, rois)
    np.testing.assert_array_equal(
        pool.levels(rois.boxes, pool.num_levels), run.stored["roi_levels"]
    )
    _relative(pooled[:8], run.stored["roi_feats.first8"], 1e-4)
    assert_same_stats(pooled, run.stored["roi_feats.stats"], 1e-4)
    _relative(outputs.logits.roll(1, dims=1), run.stored["cls_logits"], 2e-4)
    _relative(outputs.deltas, run.stored["bbox_deltas"], 2e-4)


def _stored_rois(run: Run) -> Rois:
    boxes = half_open(run.stored["proposals"][:, :4])
    return Rois(boxes, torch.zeros(len(boxes), dtype=torch.int64))


@dataclass(frozen=True, kw_only=True)
class Rescaled(Suppression):
    """As published: boxes are brought to the original image before soft-NMS, by their last pixels.

    Attributes:
        factors: [4] input pixels per original pixel.
    """

    factors: Tensor

    def detections(
        self, found: Candidates, boxes: Tensor, image_sizes: Sequence[Size]
    ) -> list[Detections]:
        """Those in pixels of the original images."""
        inside = clip_to_images(boxes, found.image, image_sizes, keep=self.keep)
        original = (inside - LAST_PIXEL) / self.factors + LAST_PIXEL
        return super().detections(found, original, [(10**6, 10**6)])


@whole
@pytest.mark.parametrize("regions", ["stored", "own"])
def test_detections(key: str, tag: str, regions: str) -> None:
    run = _run(key, tag)
    detector, spec = run.detector, MODELS[key].spec
    rois = _stored_rois(run)
    if regions == "own":
        rois = Rois.of(detector.rpn_head.proposals(run.rpn, run.sizes, phase="test"))
    with torch.no_grad():
        outputs = detector.second_stage(run.levels, rois)
    rule = Rescaled(
        score_thresh=spec.postprocess.score_thresh,
        soft=spec.postprocess.soft,
        min_box_size=spec.postprocess.min_box_size,
        keep=spec.postprocess.keep,
        factors=torch.from_numpy(run.stored["scale_factor"]),
    )
    (found,) = roi_detections(rois, outputs, run.sizes, coder=spec.coder, suppression=rule)
    assert len(found) == len(run.stored["dets"])
    _check_set(found, run.stored["dets"], run.stored["labels"])


def _check_set(found: Detections, table: Array, labels: Array) -> None:
    """At least 98 % of the stored rows [D, 5] have a partner."""
    missing = unmatched(
        (found.boxes - LAST_PIXEL).numpy(),
        found.scores.numpy(),
        np.zeros(len(found), np.int64) if not labels.any() else found.labels.numpy(),
        expected=(table[:, :4], table[:, 4], labels),
        pixels=0.05,
        score=1e-3,
    )
    assert missing <= 0.02 * len(table)


# One training step.


@dataclass(frozen=True)
class Step:
    """The images of a step, what they hold, and what was sampled."""

    detector: FasterRCNN
    levels: list[Tensor]
    rpn: HeadOutputs
    targets: list[Targets]
    stored: dict[str, Array]

    def index(self, image: int, name: str) -> Tensor:
        """A stored list of indices."""
        return torch.from_numpy(self.stored[f"img{image}.{name}"]).long()

    def proposals(self, image: int) -> Tensor:
        """[2000, 4] the stored ones."""
        return half_open(self.stored[f"img{image}.proposals"][:, :4])


def _step(key: str) -> Step:
    stored, detector = arrays(f"train_{key}"), _detector(key)
    count = sum(name.endswith(".gts") for name in stored)
    detector.zero_grad()
    levels = detector.neck(detector.backbone(rnd(int(stored["seed"]), (count, 3, 320, 320))))
    targets = []
    for i in range(count):
        labels = torch.from_numpy(stored[f"img{i}.gt_labels"]).long() - 1
        targets.append(Targets.of(half_open(stored[f"img{i}.gts"]), labels, (320, 320)))
    return Step(detector, levels, detector.rpn_head(levels), targets, stored)


@pytest.mark.parametrize("key", ["S", "M"])
def test_training_step(key: str) -> None:
    """Losses and gradients, with the stored samples of both stages."""
    step = _step(key)
    first, second = _first_stage(step), _second_stage(step)
    expected = {
        "loss_rpn_cls": step.stored["loss.loss_rpn_cls"].sum(),
        "loss_rpn_box": step.stored["loss.loss_rpn_bbox"].sum(),
        "loss_cls": step.stored["loss.loss_cls"],
        "loss_box": step.stored["loss.loss_bbox"],
    }
    losses = first | second
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name].detach(), value, rtol=1e-4)
    total = torch.stack(list(losses.values())).sum()
    np.testing.assert_allclose(total.detach(), step.stored["loss.total"], rtol=1e-4)
    total.backward()  # type: ignore[no-untyped-call]
    own = {n.removeprefix("roi_head."): p.grad for n, p in step.detector.named_parameters()}
    found = {n: float(g.double().norm()) for n, g in own.items() if g is not None}
    lengths = dict(zip(step.stored["grad.names"].tolist(), step.stored["grad.l2"], strict=True))
    assert set(found) == set(lengths)
    for name, length in lengths.items():
        np.testing.assert_allclose(found[name], length, rtol=2e-3, err_msg=name)
    norm = np.sqrt(sum(length**2 for length in found.values()))
    np.testing.assert_allclose(norm, step.stored["grad.total_norm_before_clip"], rtol=2e-3)


def _first_stage(step: Step) -> dict[str, Tensor]:
    """The losses of the stored sample; it counts the priors inside of the image."""
    rpn = step.detector.rpn_head
    border = rpn.spec.allowed_border
    assert isinstance(border, float)
    grid = rpn.spec.priors(step.rpn.level_sizes)
    packed = PackedTargets.pack(step.targets, limit_to_padding=True, allowed_border=border)
    match = rpn.spec.assigner(grid, packed)
    inside = grid.within([(320, 320)], border)[0].nonzero().flatten()
    state = torch.zeros(len(step.targets), grid.num_priors)  # 1 positive, -1 negative
    for i in range(len(step.targets)):
        positive = inside[step.index(i, "rpn.pos_inds")]
        first = sum(len(t.boxes) for t in step.targets[:i])
        assert torch.equal(match.gt_index[i, positive] - first, step.index(i, "rpn.pos_gt"))
        state[i, positive] = 1
        state[i, inside[step.index(i, "rpn.neg_inds")]] = -1
    sample = Drawn(state > 0, state < 0)
    losses: dict[str, Tensor] = rpn.sampled_losses(step.rpn, grid, match, packed, sample)
    return losses


def _second_stage(step: Step) -> dict[str, Tensor]:
    """The losses of the stored regions."""
    spec, regions, gt_index, first = step.detector.spec, [], [], 0
    for i, target in enumerate(step.targets):
        candidates = torch.cat((target.boxes, step.proposals(i)))
        negative = step.index(i, "rcnn.neg_inds")
        chosen = torch.cat((step.index(i, "rcnn.pos_inds"), negative))
        regions.append(candidates[chosen])
        stored = half_open(step.stored[f"img{i}.rcnn.sampled_boxes"])
        torch.testing.assert_close(regions[i], stored, rtol=0, atol=1e-3)
        positive = step.index(i, "rcnn.pos_gt") + first
        gt_index.append(torch.cat((positive, torch.full_like(negative, -1))))
        first += len(target.boxes)
    image = torch.cat([torch.full((len(r),), i) for i, r in enumerate(regions)])
    rois = Rois(torch.cat(regions), image)
    sampled = SampledRois(rois, torch.cat(gt_index), torch.zeros_like(image, dtype=torch.bool))
    outputs = step.detector.second_stage(step.levels, rois)
    packed = PackedTargets.pack(step.targets)
    return roi_losses(outputs, sampled, packed, coder=spec.coder, box_loss=spec.box_loss)


@pytest.mark.parametrize("key", ["S", "M"])
def test_what_learns(key: str) -> None:
    """Proposals, and which of the stored ones are the hardest: all but the ties of rounding."""
    step = _step(key)
    spec, packed = step.detector.spec, PackedTargets.pack(step.targets)
    own = step.detector.rpn_head.proposals(step.rpn, packed.image_sizes, phase="train")
    images = range(len(step.targets))
    boxes = [step.proposals(i) for i in images]
    for i in images:
        apart = torch.cdist(boxes[i], own[i].boxes, p=float("inf")).amin(dim=1)
        assert (apart < 0.05).float().mean() >= 0.98
    rois = Rois(torch.cat(boxes), torch.arange(len(boxes)).repeat_interleave(2000))
    sampled = sample_rois(
        rois,
        packed,
        match=spec.match,
        sampler=spec.sampler,
        seeds=[0] * len(boxes),
        salt=1,
        outputs=partial(step.detector.second_stage, step.levels),
    )
    assert not any(p.grad is not None for p in step.detector.parameters())
    for i in images:
        mine = sampled.rois.image == i
        candidates = torch.cat((step.targets[i].boxes, boxes[i]))
        learning = sampled.gt_index[mine] >= 0
        for name, part in (("pos_inds", learning), ("neg_inds", ~learning)):
            expected = {tuple(b) for b in candidates[step.index(i, f"rcnn.{name}")].tolist()}
            found = {tuple(b) for b in sampled.rois.boxes[mine][part].tolist()}
            assert len(expected - found) <= (0 if name == "pos_inds" else 30)
