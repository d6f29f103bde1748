"""The VisDrone protocol: against loops after its description, and on cases worked out by hand."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from motedet.metrics import PROTOCOLS, AnyProtocol, VisDroneProtocol

Entry = dict[str, Any]
CAPS = (1, 5, 20)
PERSON: Entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "area": 100}
HIT: Entry = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "score": 0.9}


def truth_of(*objects: Entry, classes: tuple[str, ...] = ("pedestrian", "car")) -> Entry:
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, start=1)],
        "annotations": list(objects),
    }


def overlap_of(box: list[float], other: list[float], *, ignored: bool) -> float:
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter, area = width * height, box[2] * box[3]
    return inter / (area if ignored else area + other[2] * other[3] - inter)


def matched(objects: list[Entry], found: list[Entry], t: float) -> list[int]:
    """1, 0 or -1 (ignored) for each detection."""
    order = sorted(objects, key=lambda entry: bool(entry["ignore"] or entry["iscrowd"]))
    ignored = [bool(entry["ignore"] or entry["iscrowd"]) for entry in order]
    taken: set[int] = set()
    answer = []
    for entry in found:
        best, match = t, -1
        for g, other in enumerate(order):
            if g in taken:
                continue
            if match >= 0 and ignored[g]:
                break
            value = overlap_of(entry["bbox"], other["bbox"], ignored=ignored[g])
            if value >= best:
                best, match = value, g
        if match >= 0 and not ignored[match]:
            taken.add(match)
        answer.append(0 if match < 0 else -1 if ignored[match] else 1)
    return answer


def voc_ap(hits: list[int], total: int) -> tuple[float, float]:
    tp = np.cumsum([hit == 1 for hit in hits])
    fp = np.cumsum([hit == 0 for hit in hits])
    recall = np.concatenate([[0.0], tp / max(1, total), [1.0]])
    precision = np.concatenate([[0.0], tp / np.maximum(1, tp + fp), [0.0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    ap = ((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum()
    return float(ap), float(recall[:-1].max())


def plain(truth: Entry, found: Sequence[Entry]) -> dict[str, float]:
    """AP and the AR at `CAPS`, without ignored regions."""
    images = sorted(image["id"] for image in truth["images"])
    ranked = {
        i: sorted((e for e in found if e["image_id"] == i), key=lambda e: -e["score"])
        for i in images
    }
    ap: list[float] = []
    ar: dict[int, list[float]] = {cap: [] for cap in CAPS}
    for k in sorted(category["id"] for category in truth["categories"]):
        for t in np.linspace(0.5, 0.95, 10).tolist():
            for cap in CAPS:
                scored: list[tuple[float, int]] = []
                total = 0
                for i in images:
                    objects = [
                        e
                        for e in truth["annotations"]
                        if (e["image_id"], e["category_id"]) == (i, k)
                    ]
                    kept = [e for e in ranked[i][:cap] if e["category_id"] == k]
                    total += len(objects)
                    hits = matched(objects, kept, t)
                    scored += zip([e["score"] for e in kept], hits, strict=True)
                scored.sort(key=lambda pair: -pair[0])
                area, recall = voc_ap([hit for _, hit in scored], total)
                ar[cap].append(recall)
            ap.append(area)
    return {"AP": float(np.mean(ap))} | {f"AR@{c}": float(np.mean(r)) for c, r in ar.items()}


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_loops(seed: int, scene: Callable[..., tuple[Entry, list[Entry]]]) -> None:
    truth, found = copy.deepcopy(scene(seed))
    generator = np.random.default_rng(seed)
    for entry in truth["annotations"]:
        entry["ignore"] = int(generator.random() < 0.2)
    values = VisDroneProtocol(max_dets=CAPS).score(truth, found).values
    expected = plain(truth, found)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_names() -> None:
    assert list(VisDroneProtocol().score(truth_of(PERSON), [HIT]).values) == [
        *("AP", "AP50", "AP75", "AR@1", "AR@10", "AR@100", "AR@500")
    ]


def test_no_objects_and_no_detections_are_zero() -> None:
    assert set(VisDroneProtocol().score(truth_of(), [HIT]).values.values()) == {0.0}
    assert set(VisDroneProtocol().score(truth_of(PERSON), []).values.values()) == {0.0}


def test_class_without_objects_counts_as_zero_and_is_noted() -> None:
    scores = VisDroneProtocol().score(truth_of(PERSON), [HIT])
    assert scores.values["AP"] == 0.5
    assert scores.per_class["pedestrian"]["AP"] == 1
    assert scores.per_class["car"]["AP"] == 0
    assert scores.notes == ("no objects of car: they count as 0 in the means.",)


def test_ignored_objects_are_part_of_what_recall_is_divided_by() -> None:
    truth = truth_of(PERSON, PERSON | {"bbox": [40, 40, 9, 9], "ignore": 1}, classes=("person",))
    inside = HIT | {"bbox": [42, 42, 5, 5], "score": 0.95}
    assert VisDroneProtocol().score(truth, [inside, HIT]).values["AP"] == 0.5


def test_caps_are_shared_by_all_classes() -> None:
    truth = truth_of(PERSON, PERSON | {"id": 2, "category_id": 2, "bbox": [40, 40, 9, 9]})
    found = [HIT, HIT | {"category_id": 2, "bbox": [40, 40, 9, 9], "score": 0.8}]
    scores = VisDroneProtocol(max_dets=(1, 2)).score(truth, found)
    assert (scores.values["AR@1"], scores.values["AR@2"], scores.values["AP"]) == (0.5, 1, 1)
    assert any("max 2 per image)" in note for note in scores.notes)


REGION: list[float] = [40.0, 40, 20, 20]
AS_CLASS = [{"id": 8, "image_id": 1, "category_id": 3, "bbox": REGION}]
AS_CROWDS = [
    {"id": 8 + k, "image_id": 1, "category_id": k, "bbox": REGION, "iscrowd": 1} for k in (1, 2)
]


@pytest.mark.parametrize(
    ("regions", "classes"),
    [
        (AS_CLASS, ("pedestrian", "car", "ignored regions")),
        (AS_CROWDS, ("pedestrian", "car")),
    ],
    ids=["class", "crowds"],
)
def test_regions_drop_objects_and_detections(
    regions: list[Entry], classes: tuple[str, ...]
) -> None:
    other = PERSON | {"category_id": 2, "bbox": [70, 70, 9, 9]}
    hidden = PERSON | {"bbox": [45, 45, 10, 10]}
    half = HIT | {"bbox": [50, 45, 20, 10], "score": 0.99}
    found = [half, HIT, HIT | {"category_id": 2, "bbox": [70, 70, 9, 9]}]
    truth = truth_of(PERSON, other, hidden, *regions, classes=classes)
    assert VisDroneProtocol().score(truth, found).values["AP"] == 1
    # without the drop step: one false detection, and one of two pedestrians missed
    kept = VisDroneProtocol(drop_in_regions=False).score(truth, found)
    assert kept.per_class["pedestrian"]["AP"] == 0.25
    assert set(kept.per_class) == {"pedestrian", "car"}


def test_id_zero_counts() -> None:
    truth = truth_of(PERSON | {"id": 0}, classes=("person",))
    assert VisDroneProtocol().score(truth, [HIT]).values["AP"] == 1


def test_recipes_and_names() -> None:
    adapter: TypeAdapter[AnyProtocol] = TypeAdapter(AnyProtocol)
    assert adapter.validate_python({"kind": "visdrone"}) == PROTOCOLS["visdrone"]
    with pytest.raises(ValueError, match="max_dets must be positive and ascend"):
        VisDroneProtocol(max_dets=(10, 1))
