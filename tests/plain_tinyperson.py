"""TinyPerson's AP, AR and miss rate by loops over images, ranges, thresholds and detections.

Written line by line from the rules, with nothing of the library's code: the slow form by which the
array form is tested, and against which its time is measured.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Entry = dict[str, Any]
Floats = NDArray[np.float64]

THRESHOLDS = (0.25, 0.5, 0.75)
AREAS = {
    "all": (1.0, 1e10),
    "tiny": (1.0, 400.0),
    "tiny1": (1.0, 64.0),
    "tiny2": (64.0, 144.0),
    "tiny3": (144.0, 400.0),
    "small": (400.0, 1024.0),
    "reasonable": (1024.0, 1e10),
}
SIZES = {
    "tiny1": (2.0, 8.0),
    "tiny2": (8.0, 12.0),
    "tiny3": (12.0, 20.0),
    "tiny": (2.0, 20.0),
    "small": (20.0, 32.0),
    "all": (-1.0, 1e10),
}
RECALLS = np.linspace(0.0, 1.0, 101)
EPS = float(np.spacing(1.0))


class Group(NamedTuple):
    """What an image has of a class, detections by falling score and capped."""

    objects: list[Entry]
    found: list[Entry]
    overlaps: Floats  # [D, G] IoU
    shares: Floats  # [D, G] intersection over the detection's area


class Outcome(NamedTuple):
    """Of one detection in one range at one threshold."""

    score: float
    positive: bool
    ignored: bool


def plain_precision(
    truth: Entry,
    found: Sequence[Entry],
    *,
    max_det: int,
    iod_threshold: str | None,
    published_id_zero: bool = False,
) -> dict[str, float]:
    """The 42 numbers."""
    ends: dict[tuple[float, str], list[tuple[float, float]]] = {}
    for k in sorted(category["id"] for category in truth["categories"]):
        groups = _groups(truth, found, k, max_det)
        for name, area in AREAS.items():
            for t in THRESHOLDS:
                outcomes: list[Outcome] = []
                positives = 0
                for group in groups:
                    ignored = [_ignored_for_ap(g, area) for g in group.objects]
                    positives += ignored.count(False)
                    outcomes += _match_for_ap(
                        group, ignored, t, area, iod_threshold, published_id_zero
                    )
                if positives:
                    ends.setdefault((t, name), []).append(_ap_and_ar(outcomes, positives))
    return {
        f"{number}{round(t * 100)}_{area}": _mean([pair[row] for pair in ends.get((t, area), [])])
        for row, number in enumerate(("AP", "AR"))
        for t in THRESHOLDS
        for area in AREAS
    }


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else -1.0


def _groups(truth: Entry, found: Sequence[Entry], k: int, max_det: int) -> list[Group]:
    objects: dict[int, list[Entry]] = {image["id"]: [] for image in truth["images"]}
    detections: dict[int, list[Entry]] = {image["id"]: [] for image in truth["images"]}
    for entry in truth["annotations"]:
        if entry["category_id"] == k:
            objects[entry["image_id"]].append(entry)
    for entry in found:
        if entry["category_id"] == k:
            detections[entry["image_id"]].append(entry)
    groups = []
    for i in sorted(objects):
        kept = sorted(detections[i], key=lambda entry: -entry["score"])[:max_det]
        groups.append(Group(objects[i], kept, *_overlaps(kept, objects[i])))
    return groups


def _overlaps(found: list[Entry], objects: list[Entry]) -> tuple[Floats, Floats]:
    boxes = np.array([entry["bbox"] for entry in found], dtype=np.float64).reshape(-1, 1, 4)
    others = np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., :2] + boxes[..., 2:], others[..., :2] + others[..., 2:])
    inter = (high - low).clip(min=0).prod(axis=-1)  # [D, G]
    area = np.broadcast_to(boxes[..., 2:].prod(axis=-1), inter.shape)
    union = area + others[..., 2:].prod(axis=-1) - inter
    iou, share = np.zeros(inter.shape), np.zeros(inter.shape)
    np.divide(inter, union, out=iou, where=inter > 0)
    np.divide(inter, area, out=share, where=inter > 0)
    return iou, share


def _ignored_for_ap(entry: Entry, area: tuple[float, float]) -> bool:
    flagged = entry.get("iscrowd") or entry.get("ignore") or entry.get("uncertain")
    return bool(flagged) or not area[0] <= entry["area"] <= area[1]


def _match_for_ap(
    group: Group,
    ignored: list[bool],
    t: float,
    area: tuple[float, float],
    iod_threshold: str | None,
    published_id_zero: bool,
) -> list[Outcome]:
    objects = group.objects
    order = sorted(range(len(objects)), key=lambda g: ignored[g])
    crowd = np.array([bool(g.get("iscrowd")) for g in objects], dtype=np.bool_)
    overlaps = np.where(crowd, group.shares, group.overlaps)
    limit = min(t, 1 - 1e-10)
    last = [g for g in order if ignored[g]]
    areas = np.array([objects[g]["area"] for g in last])
    taken: set[int] = set()
    outcomes = []
    for entry, row in zip(group.found, overlaps, strict=True):
        values = row.tolist()
        best, match = limit, -1
        for g in order:
            if g in taken and not crowd[g]:
                continue
            if match >= 0 and not ignored[match] and ignored[g]:
                break
            if values[g] < best:
                continue
            best, match = values[g], g
        size = entry["bbox"][2] * entry["bbox"][3]
        if match < 0 and last and iod_threshold and size > 0:
            q = row[last]
            iod = q / (1 + q) * (1 + areas / size)
            if iod.max() >= (limit if iod_threshold == "t" else 2 * limit / (1 + limit)):
                match = last[int(iod.argmax())]
        taken.add(match)
        positive = match >= 0 and not (published_id_zero and objects[match]["id"] == 0)
        excused = ignored[match] if match >= 0 else False
        excused = excused or (not positive and not area[0] <= size <= area[1])
        outcomes.append(Outcome(entry["score"], positive, excused))
    return outcomes


def _ap_and_ar(outcomes: list[Outcome], positives: int) -> tuple[float, float]:
    tp = fp = 0
    recalls, precisions = [], []
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.score):
        tp += outcome.positive and not outcome.ignored
        fp += not outcome.positive and not outcome.ignored
        recalls.append(tp / positives)
        precisions.append(tp / (fp + tp + EPS))
    for i in range(len(precisions) - 1, 0, -1):
        precisions[i - 1] = max(precisions[i - 1], precisions[i])
    places = np.searchsorted(recalls, RECALLS)
    sampled = [precisions[i] if i < len(precisions) else 0.0 for i in places]
    return sum(sampled) / len(sampled), recalls[-1] if recalls else 0.0


def plain_miss_rate(
    truth: Entry,
    found: Sequence[Entry],
    *,
    max_det: int = 1000,
    unreached: str = "published",
    excuse: str = "published",
    published_id_zero: bool = False,
) -> dict[str, float]:
    """The 18 miss rates."""
    classes = sorted(category["id"] for category in truth["categories"])
    values = {}
    for t in THRESHOLDS:
        for name, size in SIZES.items():
            logs: list[float] = []
            for k in classes:
                outcomes: list[Outcome] = []
                positives = 0
                for group in _groups(truth, found, k, max_det):
                    ignored = [_ignored_for_mr(g, size) for g in group.objects]
                    positives += ignored.count(False)
                    outcomes += _match_for_mr(group, ignored, t, size, excuse, published_id_zero)
                if positives:
                    recalls = _recalls(outcomes, positives, len(truth["images"]), unreached)
                    logs += [math.log(1 - r) if r < 1 else -math.inf for r in recalls]
            values[f"MR{round(t * 100)}_{name}"] = math.exp(sum(logs) / len(logs)) if logs else -1.0
    return values


def _ignored_for_mr(entry: Entry, size: tuple[float, float]) -> bool:
    measure = float(entry.get("size", math.sqrt(entry["area"])))
    visible = entry["vis_ratio"] if "vis_ratio" in entry else entry.get("vis", 1.0)
    outside = not size[0] <= measure <= size[1] or visible < 0.65
    return bool(outside or entry.get("ignore") or entry.get("uncertain"))


def _match_for_mr(
    group: Group,
    ignored: list[bool],
    t: float,
    size: tuple[float, float],
    excuse: str,
    published_id_zero: bool,
) -> list[Outcome]:
    objects = group.objects
    order = sorted(range(len(objects)), key=lambda g: ignored[g])
    last = [g for g in order if ignored[g]]
    overlaps = np.where(np.array(ignored, dtype=np.bool_), group.shares, group.overlaps)
    taken: set[int] = set()
    outcomes = []
    for entry, row in zip(group.found, overlaps.tolist(), strict=True):
        area = entry["bbox"][2] * entry["bbox"][3]
        if not size[0] / 1.25 <= math.sqrt(area) < size[1] * 1.25:
            continue
        match = _choice(row, order, ignored, taken, min(t, 1 - 1e-10))
        if match < 0 and last and area > 0:
            match = _excusing(objects, last, row, area, excuse)
        if match >= 0 and not ignored[match]:
            taken.add(match)
        positive = match >= 0 and not (published_id_zero and objects[match]["id"] == 0)
        excused = ignored[match] if match >= 0 else False
        outcomes.append(Outcome(entry["score"], positive, excused))
    return outcomes


def _choice(
    row: list[float], order: list[int], ignored: list[bool], taken: set[int], limit: float
) -> int:
    best, match = limit, -1
    for g in order:
        if g in taken:
            continue
        if match >= 0 and ignored[g]:
            break
        if row[g] < best:
            continue
        best, match = row[g], g
    return match


def _excusing(
    objects: list[Entry], last: list[int], row: list[float], area: float, excuse: str
) -> int:
    if excuse == "published":
        values = [row[g] / (1 + row[g]) * (1 + objects[g]["area"] / area) for g in last]
        passed = max(values) > 0.5
    else:
        values = [row[g] for g in last]
        passed = max(values) >= 0.5
    return last[values.index(max(values))] if passed else -1


def _recalls(outcomes: list[Outcome], positives: int, images: int, unreached: str) -> list[float]:
    tp = fp = 0
    recalls, fppi = [], []
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.score):
        tp += outcome.positive and not outcome.ignored
        fp += not outcome.positive and not outcome.ignored
        recalls.append(tp / positives)
        fppi.append(fp / images)
    if not recalls:
        return [0.0] * 9
    answers = []
    for i in range(9):
        place = sum(value <= 10 ** (-2 + i / 4) for value in fppi) - 1
        answers.append(recalls[place] if place >= 0 or unreached == "published" else 0.0)
    return answers
