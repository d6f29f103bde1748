"""Overlaps, Gaussian distances, coders and suppression against stored reference values."""

import re
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from golden_files import load_json, load_npz
from motedet.geometry import (
    DeltaCoder,
    LTRBCoder,
    NWDMode,
    Similarity,
    aligned_giou,
    aligned_iof,
    aligned_iou,
    aligned_similarity,
    class_aware_nms,
    multiclass_nms,
    nwd_loss,
    pairwise_iof,
    pairwise_iou,
    pairwise_similarity,
    squared_center_distance,
)

OPS = load_npz("autoassign", "ops.npz")
OPS_JSON = load_json("autoassign", "ops.json")
METRICS = load_npz("rfla", "metrics.npz")


def ops(key: str) -> Tensor:
    return torch.from_numpy(OPS[key])


def metrics(key: str) -> Tensor:
    return torch.from_numpy(METRICS[key])


def decimal(digits: str) -> float:
    """A number as keys write it: `1` is 1, `01` is 0.1, `12p8` is 12.8."""
    if "p" in digits:
        return float(digits.replace("p", "."))
    return float(f"0.{digits[1:]}") if len(digits) > 1 and digits[0] == "0" else float(digits)


# --- Gaussian distances -----------------------------------------------------------------------

SIMILARITIES = sorted(
    key
    for key in METRICS
    if key not in ("gt", "prior", "center_distance2") and not key.startswith("nwdloss_")
)
NWD_LOSSES = sorted(
    key
    for key in METRICS
    if key.startswith("nwdloss_") and key not in ("nwdloss_pred", "nwdloss_target")
)


def similarity_of(key: str) -> tuple[Similarity, float]:
    """The measure and its constant that a key names: `nwd_c12p8`, `nwdrepo_diou`, `kl`."""
    if constant := re.fullmatch(r"nwd_c(\w+)", key):
        return "nwd", decimal(constant[1])
    return cast("Similarity", key.removeprefix("nwdrepo_")), 12.8


def assert_metric(actual: Tensor, key: str) -> None:
    """The README's tolerance: relative, wider for tiny values; absolute for giou, diou, ciou."""
    expected = METRICS[key]
    atol = 1e-6 if re.search("[gdc]iou", key) else 0.0
    rtol = np.where(np.abs(expected) < 1e-12, 1e-3, 1e-5)
    error = np.abs(actual.numpy() - expected)
    assert actual.shape == expected.shape
    assert (error <= atol + rtol * np.abs(expected)).all(), error.max()


@pytest.mark.parametrize("key", SIMILARITIES)
def test_similarity(key: str) -> None:
    metric, constant = similarity_of(key)
    actual = pairwise_similarity(metric, metrics("gt"), metrics("prior"), nwd_constant=constant)
    assert_metric(actual, key)


@pytest.mark.parametrize("key", SIMILARITIES)
def test_aligned_similarity_has_the_bits_of_pairwise(key: str) -> None:
    metric, constant = similarity_of(key)
    gt, prior = metrics("gt"), metrics("prior")
    pairwise = pairwise_similarity(metric, gt, prior, nwd_constant=constant)
    row = torch.arange(len(gt)).repeat_interleave(len(prior))
    column = torch.arange(len(prior)).repeat(len(gt))
    aligned = aligned_similarity(metric, gt[row], prior[column], nwd_constant=constant)
    assert torch.equal(aligned, pairwise.flatten())


def test_squared_center_distance() -> None:
    actual = squared_center_distance(metrics("gt")[:, None], metrics("prior")[None])
    assert_metric(actual, "center_distance2")


@pytest.mark.parametrize("key", NWD_LOSSES)
def test_nwd_loss(key: str) -> None:
    mode = cast("NWDMode", key.removeprefix("nwdloss_"))
    assert_metric(nwd_loss(metrics("nwdloss_pred"), metrics("nwdloss_target"), mode=mode), key)


# --- Overlaps ---------------------------------------------------------------------------------

OVERLAPS = [key for key in OPS if key.startswith("iou/") and key not in ("iou/a", "iou/b")]


@pytest.mark.parametrize("key", OVERLAPS)
def test_overlap(key: str) -> None:
    mode, _, count = key.removeprefix("iou/").partition("_aligned")
    boxes, others = ops("iou/a"), ops("iou/b")
    if count:
        functions = {"iou": aligned_iou, "iof": aligned_iof, "giou": aligned_giou}
        actual = functions[mode](boxes[: int(count)], others[: int(count)])
    elif mode == "giou":
        actual = aligned_giou(boxes[:, None], others[None])
    else:
        actual = {"iou": pairwise_iou, "iof": pairwise_iof}[mode](boxes, others)
    np.testing.assert_allclose(actual, OPS[key], rtol=0, atol=1e-6)


# --- Coders -----------------------------------------------------------------------------------

CODED = [key for key in OPS if re.fullmatch(r"coder/\w+/\w+", key)]


def delta_coder(name: str) -> DeltaCoder:
    """The coder that a key names: `std1`, `std0102`, `ctrclamp32`."""
    if clamp := re.fullmatch(r"ctrclamp(\d+)", name):
        return DeltaCoder(ctr_clamp=float(clamp[1]))
    digits = name.removeprefix("std")
    halves = (digits, digits) if len(digits) == 1 else (digits[:2], digits[2:])
    center, side = (decimal(half) for half in halves)
    return DeltaCoder(std=(center, center, side, side))


def size_of(case: str) -> tuple[int, int] | None:
    """(height, width) in a key such as `decode_clipped_h300_w400`."""
    size = re.search(r"_h(\d+)_w(\d+)", case)
    return (int(size[1]), int(size[2])) if size else None


@pytest.mark.parametrize("key", CODED)
def test_coder(key: str) -> None:
    _, name, case = key.split("/")
    if name == "distance":
        limit = re.fullmatch(r"encode_max(\d+)", case)
        ltrb = LTRBCoder(max_dis=float(limit[1]) if limit else None)
        points = ops("coder/points")
        if case.startswith("encode"):
            actual = ltrb.encode(points, ops("coder/gt"))
        else:
            actual = ltrb.decode(points, ops("coder/dist"), size_of(case))
    elif case.startswith("encode"):
        actual = delta_coder(name).encode(ops("coder/priors"), ops("coder/gt"))
    else:
        deltas = ops("coder/deltas3" if case.startswith("decode3") else "coder/deltas")
        actual = delta_coder(name).decode(ops("coder/priors"), deltas, size_of(case))
    atol = 1e-5 if case.startswith("encode") else 1e-3
    np.testing.assert_allclose(actual, OPS[key], rtol=0, atol=atol)


# --- Suppression ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(OPS_JSON["nms"]))
def test_class_aware_nms(name: str) -> None:
    case: dict[str, Any] = OPS_JSON["nms"][name]
    config = case["cfg"]
    source = f"nms/{case['input_case']}"
    boxes, scores, labels = (ops(f"{source}/{key}") for key in ("boxes", "scores", "labels"))
    keep = class_aware_nms(
        boxes,
        scores,
        labels,
        iou_thresh=config["iou_threshold"],
        class_agnostic=case["class_agnostic"] or config.get("class_agnostic", False),
        max_num=config.get("max_num"),
        score_thresh=config.get("score_threshold", 0.0),
        split_above=config.get("split_thr", 10000),
    )
    assert keep.tolist() == OPS[f"nms/{name}/keep"].tolist()
    assert_identical(torch.cat((boxes[keep], scores[keep, None]), dim=1), OPS[f"nms/{name}/dets"])


@pytest.mark.parametrize("name", list(OPS_JSON["mcnms"]))
def test_multiclass_nms(name: str) -> None:
    config = OPS_JSON["mcnms"][name]
    factors = f"mcnms/{name}/factors"
    found, index = multiclass_nms(
        ops(f"mcnms/{name}/boxes"),
        ops(f"mcnms/{name}/scores")[:, :-1],  # the last column is background
        score_thresh=config["score_thr"],
        iou_thresh=config["iou"],
        max_num=config["max_num"] if config["max_num"] > 0 else None,
        score_factors=ops(factors) if factors in OPS else None,
    )
    assert_identical(torch.cat((found.boxes, found.scores[:, None]), 1), OPS[f"mcnms/{name}/dets"])
    assert found.labels.tolist() == OPS[f"mcnms/{name}/labels"].tolist()
    assert index.tolist() == OPS[f"mcnms/{name}/flat_index"].tolist()


def assert_identical(actual: Tensor, expected: ArrayLike) -> None:
    np.testing.assert_array_equal(actual, expected)
