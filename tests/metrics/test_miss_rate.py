"""The miss rate on cases worked out by hand; the tests of the protocol compare it with loops."""

import pytest

from motedet.metrics import MissRate
from motedet.metrics.matching import Ranked
from motedet.metrics.miss_rate import FPPI, MissCurves, miss_curves
from motedet.metrics.overlaps import find_overlaps
from motedet.metrics.tables import DetectionTable, GroundTruthTable

Entry = dict[str, object]


def curves(
    objects: list[Entry],
    found: list[tuple[list[float], float]],
    *,
    images: int = 100,
    rules: MissRate | None = None,
) -> MissCurves:
    common: Entry = {"image_id": 1, "category_id": 1}
    truth = GroundTruthTable.of(
        {
            "images": [{"id": i + 1} for i in range(images)],
            "categories": [{"id": 1}],
            "annotations": [common | entry for entry in objects],
        }
    )
    table = DetectionTable.of(
        [common | {"bbox": box, "score": score} for box, score in found], truth
    )
    ranked = Ranked.of(table, cap=1000, num_classes=1)
    return miss_curves(
        truth,
        ranked,
        overlaps=find_overlaps(truth, ranked.table),
        rules=rules or MissRate(),
        ignore_uncertain=True,
    )


PERSON: Entry = {"bbox": [10, 10, 10, 10]}
BOX = [10.0, 10, 10, 10]
ELSEWHERE = [40.0, 40, 10, 10]


def test_nine_rates() -> None:
    assert FPPI.tolist() == pytest.approx(
        [0.01, 0.017783, 0.031623, 0.056234, 0.1, 0.177828, 0.316228, 0.562341, 1.0], rel=1e-4
    )


def test_no_objects_no_detections_and_all_found() -> None:
    assert set(curves([], []).values().values()) == {-1.0}
    assert curves([PERSON], []).values()["MR50_tiny"] == 1
    found = curves([PERSON], [(BOX, 0.9)])
    assert found.values()["MR50_tiny2"] == 0
    assert found.class_rates(iou=0.5, size="tiny").tolist() == [0]
    assert not found.passed


def test_known_value() -> None:
    objects: list[Entry] = [PERSON, {"bbox": [70, 10, 10, 10]}]
    found = [(ELSEWHERE, 0.9), (ELSEWHERE, 0.8), (BOX, 0.7)]
    # 0.02 false positives per image: the recall of 1/2 counts at the last seven rates
    assert curves(objects, found).values()["MR50_tiny"] == pytest.approx(0.5 ** (7 / 9))


@pytest.mark.parametrize(
    ("flags", "counts"),
    [
        ({}, True),
        ({"iscrowd": 1}, True),
        ({"ignore": 1}, False),
        ({"uncertain": 1}, False),
        ({"size": 30}, False),
        ({"vis_ratio": 0.6}, False),
        ({"vis": 0.65}, True),
    ],
    ids=str,
)
def test_which_objects_count(flags: Entry, counts: bool) -> None:
    values = curves([PERSON | flags], []).values()
    assert values["MR50_tiny"] == (1 if counts else -1)


def test_detections_of_quite_other_sizes_are_left_out() -> None:
    sides = [6.4 - 1e-6, 6.4, 14.9, 15.0]  # 8 / 1.25 and 12 * 1.25
    for side, counts in zip(sides, [False, True, True, False], strict=True):
        found = [([60.0, 60, side, side], 0.9), (BOX, 0.8)]
        passed = curves([PERSON], found, images=1).recall[1, 1, 0, 0]
        rules = MissRate(unreached="zero")
        recall = curves([PERSON], found, images=1, rules=rules).recall[1, 1, 0, 0]
        assert (recall, passed) == ((0, 1) if counts else (1, 1))


def test_ignored_objects_take_in_any_number() -> None:
    region: Entry = {"bbox": [40, 40, 20, 20], "ignore": 1}
    found = [([42.0, 42, 9, 9], 0.9), ([44.0, 44, 9, 9], 0.8), (BOX, 0.7)]
    assert curves([PERSON, region], found).values()["MR75_tiny"] == 0


def test_formula_excuses_what_is_hardly_inside() -> None:
    region: Entry = {"bbox": [40, 40, 100, 100], "ignore": 1}
    found = [([31.0, 60, 10, 10], 0.9), (BOX, 0.8)]  # 10 % inside, of a hundredth of the area
    published = curves([PERSON, region], found, images=1).recall[3, 1, 0, 0]
    rules = MissRate(excuse="inside", unreached="zero")
    inside = curves([PERSON, region], found, images=1, rules=rules).recall[3, 1, 0, 0]
    assert (published, inside) == (1, 0)


def test_cap_is_per_image() -> None:
    rules = MissRate(max_det=1)
    assert curves([PERSON], [(ELSEWHERE, 0.9), (BOX, 0.8)], rules=rules).values()["MR50_all"] == 1


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="max_det must be at least 1; got 0"):
        MissRate(max_det=0)
