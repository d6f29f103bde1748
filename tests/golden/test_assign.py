"""Assignments equal those of the published code, prior by prior."""

import re
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from golden_files import case_names, load_json, load_npz
from motedet.assign import (
    ATSS,
    DynamicSoftLabel,
    FCOSAssigner,
    Hierarchical,
    MaxIoU,
    PlainAssigner,
    PredictionAware,
    SimOTA,
    TaskAligned,
)
from motedet.assign.pairs import usable_priors
from motedet.geometry import aligned_iou, encode_ltrb
from motedet.priors import Anchors, AnyPriors, Level, Points, PriorGrid, ReceptiveFields
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Predictions, Targets

HIERARCHICAL = load_json("rfla", "hie_assign.json")
ASSIGN = load_json("autoassign", "assign.json")
KEYS = list(load_npz("autoassign", "assign.npz"))


def packed(boxes: NDArray[np.float32], ignore: NDArray[np.float32] | None = None) -> PackedTargets:
    gt = torch.from_numpy(boxes).reshape(-1, 4)
    none = gt.new_zeros(0, 4)
    ignore_boxes = none if ignore is None else torch.from_numpy(ignore).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    return PackedTargets.pack([Targets(gt, labels, ignore_boxes, (1, 1), (1, 1))])


def codes(assignment: Assignment) -> NDArray[np.int64]:
    """The published code: object + 1, 0 background, -1 ignored."""
    codes: NDArray[np.int64] = assignment.gt_index[0].numpy() + 1
    return codes


# --- Hierarchical -----------------------------------------------------------------------------


def prior_set(name: str) -> PriorGrid:
    """The receptive fields of a name such as `fcos_p2_800` or `rf_p3_512x640`."""
    kind, layer, size = name.split("_")
    height, width = (int(s) for s in (size.split("x") if "x" in size else (size, size)))
    first = {"p2": 4, "p3": 8}[layer]
    strides = tuple(first * 2**i for i in range(5))
    sizes = []
    for stride in (1, 2, *(4 * 2**i for i in range(7))):
        if stride in strides:
            sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    start: Literal["p2", "p3"] = "p2" if layer == "p2" else "p3"
    if kind == "fcos":
        return ReceptiveFields(strides=strides, start_level=start)(sizes)
    fields = ReceptiveFields(strides=strides, start_level=start, ratios=(0.5, 1.0, 2.0), offset=0.0)
    return fields(sizes)


def hierarchical(case: dict[str, object]) -> Hierarchical:
    metric = str(case["metric"])
    constant = float(metric.split("C=")[1].rstrip(")")) if "C=" in metric else 12.8
    threshold = float(str(case["ignore_iof_thr_used"]))
    return Hierarchical(
        similarity=metric.split("(", maxsplit=1)[0],  # type: ignore[arg-type]
        topk=tuple(case["topk"]),  # type: ignore[arg-type]
        ratio=float(str(case["ratio"])),
        nwd_constant=constant,
        inside=bool(case.get("inside", False)),
        ignore_iof=threshold if threshold > 0 else None,
        ignore_rule="published",
    )


@pytest.mark.parametrize("name", HIERARCHICAL["priors"])
def test_prior_sets_are_those_of_the_golden_file(name: str) -> None:
    boxes = prior_set(name).boxes().double()
    want = HIERARCHICAL["priors"][name]
    assert len(boxes) == want["num"]
    assert boxes[0].tolist() == want["first"]
    assert boxes[-1].tolist() == want["last"]
    assert boxes.sum().item() == pytest.approx(want["sum"], rel=1e-12)
    assert boxes.abs().sum().item() == pytest.approx(want["sum_abs"], rel=1e-12)


@pytest.mark.parametrize("case", HIERARCHICAL["cases"], ids=lambda case: case["case"])
def test_hierarchical(case: dict[str, object]) -> None:
    arrays = load_npz("rfla", "hie_assign.npz")
    name = case["case"]
    targets = packed(arrays[f"{name}/gt"], arrays.get(f"{name}/gt_ignore"))
    assignment = hierarchical(case)(prior_set(str(case["priors"])), targets)
    np.testing.assert_array_equal(codes(assignment), arrays[f"{name}/gt_inds"])


# --- MaxIoU, ATSS, FCOS -----------------------------------------------------------------------


def base_anchors(name: str, strides: list[int], sizes: list[list[int]]) -> PriorGrid:
    arrays = load_npz("autoassign", "assign.npz")
    levels = []
    for number, (stride, (height, width)) in enumerate(zip(strides, sizes, strict=True)):
        boxes = arrays[f"base_anchors/{name}/level{number}"].reshape(-1, 4).tolist()
        levels.append(Level(stride, height, width, 0.0, tuple(tuple(box) for box in boxes)))
    return PriorGrid(tuple(levels))


def anchor_grid(name: str) -> PriorGrid:
    small = name.startswith("small") and "small_anchor_strides" in ASSIGN
    prefix = "small_anchor_" if small else ""
    return base_anchors(name, ASSIGN[f"{prefix}strides"], ASSIGN[f"{prefix}featmap_hw"])


def targets_of(tag: str, *, ignore: bool) -> PackedTargets:
    arrays = load_npz("autoassign", "assign.npz")
    boxes = arrays[f"gt/{tag.split('/')[1]}/bboxes"]
    return packed(boxes, arrays["gt_ignore/bboxes"] if ignore else None)


def tags(prefix: str) -> list[str]:
    return [tag for tag in case_names(KEYS, depth=2) if tag.startswith(prefix)]


def check_against(tag: str, assigner: PlainAssigner, grid: PriorGrid, *, ignore: bool) -> None:
    arrays = load_npz("autoassign", "assign.npz")
    assignment = assigner(grid, targets_of(tag, ignore=ignore))
    got, want = codes(assignment), arrays[f"{tag}/gt_inds"]
    np.testing.assert_array_equal(got, want)
    overlaps = np.zeros(len(want), dtype=np.float32)
    overlaps[arrays[f"{tag}/max_overlaps_idx"]] = arrays[f"{tag}/max_overlaps_val"]
    quality = assignment.quality[0].numpy()
    # the published number is the best overlap with any object, ours the one with its own
    stored = (want > 0) & (overlaps > 0)
    assert (quality[stored] <= overlaps[stored] + 1e-5).all()
    if isinstance(assigner, ATSS) or not assigner_takes(assigner):
        np.testing.assert_allclose(quality[stored], overlaps[stored], atol=1e-5, rtol=1e-5)


def assigner_takes(assigner: PlainAssigner) -> bool:
    return isinstance(assigner, MaxIoU) and assigner.low_quality


@pytest.mark.parametrize("tag", tags("maxiou_"))
def test_max_iou(tag: str) -> None:
    config = ASSIGN["maxiou_configs"][tag.split("/", maxsplit=1)[0].removeprefix("maxiou_")]
    negative = config["neg_iou_thr"]
    ignore_iof = config.get("ignore_iof_thr", -1)
    assigner = MaxIoU(
        pos_iou=config["pos_iou_thr"],
        neg_iou=tuple(negative) if isinstance(negative, list) else negative,
        min_pos_iou=config.get("min_pos_iou", 0.0),
        low_quality=config.get("match_low_quality", True),
        all_ties=config.get("gt_max_assign_all", True),
        ignore_iof=ignore_iof if ignore_iof > 0 else None,
        ignore_wrt_candidates=config.get("ignore_wrt_candidates", True),
        zero_overlap_matches=True,
    )
    check_against(tag, assigner, anchor_grid(config["anchors"]), ignore=config["ignore"])


@pytest.mark.parametrize("tag", tags("atss_"))
def test_atss(tag: str) -> None:
    name = tag.split("/", maxsplit=1)[0].removeprefix("atss_")
    ignore = "ignore" in name
    assigner = ATSS(topk=int(name.split("_")[0][1:]), ignore_iof=0.5 if ignore else None)
    check_against(tag, assigner, anchor_grid("atss1"), ignore=ignore)


FCOS_RADIUS = {"plain": None, "cs": 1.5, "cs_norm": 2.5}  # the README of the golden files


@pytest.mark.parametrize("tag", tags("fcos_"))
def test_fcos(tag: str) -> None:
    arrays = load_npz("autoassign", "assign.npz")
    name, objects = tag.removeprefix("fcos_").split("/")
    ranges = tuple((low, high) for low, high in ASSIGN["fcos_regress_ranges"])
    assigner = FCOSAssigner(regress_ranges=ranges, center_radius=FCOS_RADIUS[name])
    grid = Points(strides=tuple(ASSIGN["strides"]))([(h, w) for h, w in ASSIGN["featmap_hw"]])
    targets = targets_of(tag, ignore=False)
    gt_index = assigner(grid, targets).gt_index[0]
    positive = gt_index >= 0
    labels = np.append(arrays[f"gt/{objects}/labels"], ASSIGN["num_classes"])
    want = arrays[f"{tag}/labels"]
    np.testing.assert_array_equal(labels[gt_index.where(positive, BACKGROUND).numpy()], want)
    np.testing.assert_array_equal(positive.nonzero()[:, 0].numpy(), arrays[f"{tag}/pos_idx"])
    ltrb = encode_ltrb(grid.points()[positive], targets.boxes[gt_index[positive]])
    if name.endswith("_norm"):
        ltrb = ltrb / grid.strides()[positive, None]
    np.testing.assert_allclose(ltrb.numpy(), arrays[f"{tag}/pos_targets"], atol=1e-5, rtol=1e-5)


# --- Hierarchical within the published heads ----------------------------------------------------

LOSSES = load_json("rfla", "losses.json")
NOT_USED = -9  # in the golden files, of priors that the head leaves out


def cases_of(kind: str) -> list[str]:
    """Names of the cases of one head."""
    return [name for name, case in LOSSES.items() if case["kind"] == kind]


def head_batch(name: str, *, padded: bool) -> tuple[PackedTargets, NDArray[np.int64]]:
    """The objects of a batch, and their labels with that of the background last."""
    arrays, case = load_npz("rfla", "losses.npz"), LOSSES[name]
    whole = (case["height"], case["width"])
    records, labels = [], []
    for image in range(case["batch"]):
        boxes = torch.from_numpy(arrays[f"{name}/gt{image}"]).reshape(-1, 4)
        labels.append(arrays.get(f"{name}/gt_labels{image}", np.zeros(len(boxes), dtype=np.int64)))
        height, width = case["img_and_pad_shapes"][image] if padded else whole
        none, kinds = boxes.new_zeros(0, 4), torch.zeros(len(boxes), dtype=torch.int64)
        records.append(Targets(boxes, kinds, none, whole, (height, width)))
    return PackedTargets.pack(records, limit_to_padding=padded), np.concatenate([*labels, [8]])


def level_sizes(name: str) -> list[tuple[int, int]]:
    return [(h, w) for h, w in LOSSES[name]["sizes"]]


@pytest.mark.parametrize("name", cases_of("fcos_rfla"))
def test_rfla_fcos_head(name: str) -> None:
    case = LOSSES[name]
    start: Literal["p2", "p3"] = "p2" if case["fpn_layer"] == "p2" else "p3"
    grid = ReceptiveFields(strides=tuple(case["strides"]), start_level=start)(level_sizes(name))
    targets, labels = head_batch(name, padded=False)
    gt_index = Hierarchical(shared_priors=True)(grid, targets).gt_index.clamp(min=-1)
    levels = np.split(labels[gt_index.numpy()], grid.level_starts[1:], axis=1)
    want = load_npz("rfla", "losses.npz")[f"{name}/labels"]  # level after level, then images
    np.testing.assert_array_equal(np.concatenate([level.ravel() for level in levels]), want)


def anchor_head_grid(name: str, start: Literal["p2", "p3"]) -> PriorGrid:
    first = {"p2": 4, "p3": 8}[start]
    strides = tuple(first * 2**i for i in range(5))
    made = ReceptiveFields(strides=strides, start_level=start, ratios=(0.5, 1.0, 2.0), offset=0.0)
    return made(level_sizes(name))


@pytest.mark.parametrize("name", cases_of("retina_rfla"))
def test_rfla_retina_head(name: str) -> None:
    arrays = load_npz("rfla", "losses.npz")
    targets, labels = head_batch(name, padded=True)
    assignment = Hierarchical()(anchor_head_grid(name, "p3"), targets)
    got = labels[assignment.gt_index.clamp(min=-1).numpy()]
    np.testing.assert_array_equal(got, arrays[f"{name}/labels"])
    np.testing.assert_array_equal(~assignment.ignored.numpy(), arrays[f"{name}/label_weights"])


@pytest.mark.parametrize("name", cases_of("rpn_rfla"))
def test_rfla_proposal_head(name: str) -> None:
    arrays, border = load_npz("rfla", "losses.npz"), float(LOSSES[name]["allowed_border"])
    targets, _ = head_batch(name, padded=False)
    targets = replace(targets, allowed_border=border if border >= 0 else None)
    grid = anchor_head_grid(name, "p2")
    gt_index = Hierarchical()(grid, targets).gt_index
    usable = usable_priors(grid, targets)
    starts = targets.image_index.bincount(minlength=targets.num_images).cumsum(0).roll(1)
    starts[0] = 0
    for image, row in enumerate(gt_index):
        local = torch.where(row >= 0, row - starts[image], row)
        want = arrays[f"{name}/gt_inds{image}"]
        used = np.ones(len(want), dtype=bool) if usable is None else usable[image].numpy()
        np.testing.assert_array_equal(want == NOT_USED, ~used)
        np.testing.assert_array_equal(local + 1, np.where(used, want, IGNORED + 1))


# --- Prediction-aware: TAL, SimOTA, dynamic soft label -------------------------------------------


def aware_rule(name: str) -> tuple[PredictionAware, AnyPriors]:
    """The assigner of a name such as `tal_k10_a05`, and the priors that the README gives it."""
    strides = tuple(ASSIGN["strides"])
    options = dict(re.findall(r"_([ka])(\d+)", name))
    topk = int(options.get("k", 10))
    if name.startswith("tal"):
        alpha = float(options["a"]) / 10 if "a" in options else 1.0
        one = Anchors(strides=strides, octave_base_scale=8.0, scales_per_octave=1, ratios=(1.0,))
        return TaskAligned(topk=topk, alpha=alpha, beta=6.0), one
    if name.startswith("simota"):
        return SimOTA(topk=topk, radius=2.5), Points(strides=strides, offset=0.5)
    return DynamicSoftLabel(topk=topk), Points(strides=strides, offset=0.0)


def pred_inputs(objects: str) -> tuple[PackedTargets, Predictions]:
    """The objects of a `pred/` case with their classes, and what was predicted."""
    arrays = load_npz("autoassign", "assign.npz")
    targets = packed(arrays[f"pred/{objects}/bboxes"])
    targets = replace(targets, labels=torch.from_numpy(arrays[f"pred/{objects}/labels"]))
    scores = torch.from_numpy(arrays[f"pred/{objects}/pred_scores"])[None]
    boxes = torch.from_numpy(arrays[f"pred/{objects}/pred_bboxes"])[None]
    return targets, Predictions(scores, scores.logit(), boxes)


def stored(tag: str, name: str) -> NDArray[np.float32]:
    """A sparse list of the golden file as [P] numbers."""
    arrays = load_npz("autoassign", "assign.npz")
    table = np.zeros(len(arrays[f"{tag}/gt_inds"]), dtype=np.float32)
    table[arrays[f"{tag}/{name}_idx"]] = arrays[f"{tag}/{name}_val"]
    return table


AWARE = [*tags("tal_"), *tags("simota"), *tags("dsl_")]


@pytest.mark.parametrize("tag", AWARE)
def test_prediction_aware(tag: str) -> None:
    name, objects = tag.split("/")
    assigner, priors = aware_rule(name)
    grid = priors([(h, w) for h, w in ASSIGN["pred_featmap_hw"]])
    targets, predictions = pred_inputs(objects)
    assignment = assigner(grid, targets, predictions)
    want = load_npz("autoassign", "assign.npz")[f"{tag}/gt_inds"]
    np.testing.assert_array_equal(codes(assignment), want)

    prior = assignment.positive[0].nonzero()[:, 0]
    gt = assignment.gt_index[0, prior]
    overlap = aligned_iou(predictions.boxes[0, prior], targets.boxes[gt])
    overlaps = stored(tag, "max_overlaps")[want > 0]
    np.testing.assert_allclose(overlap.numpy(), overlaps, atol=1e-5, rtol=1e-5)
    quality = assignment.quality[0, prior].numpy()
    if not isinstance(assigner, TaskAligned):
        np.testing.assert_array_equal(quality, overlap.numpy())
        return
    score = predictions.scores[0, prior, targets.labels[gt]]
    metrics = stored(tag, "assign_metrics")[want > 0]
    got = assigner.alignment(score, overlap).numpy()
    np.testing.assert_allclose(got, metrics, atol=1e-5, rtol=1e-5)
    for row in set(gt.tolist()):  # spec 3.4, head normalisation
        own = (gt == row).numpy()
        goal = metrics[own] / (metrics[own].max() + 1e-7) * overlaps[own].max()
        np.testing.assert_allclose(quality[own], goal, atol=1e-5, rtol=1e-5)


def test_there_are_prediction_aware_cases() -> None:
    kinds = {type(aware_rule(tag.split("/", maxsplit=1)[0])[0]) for tag in AWARE}
    assert kinds == {TaskAligned, SimOTA, DynamicSoftLabel}
