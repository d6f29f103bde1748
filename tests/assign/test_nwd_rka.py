import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assignment_scenes import Scene, scenes
from dense_tiny_assigners import differences, grid_of
from motedet.assign import pairs
from motedet.assign.nwd_rka import NWDRKA
from motedet.priors import Anchors, Level, PriorGrid
from motedet.structures import BACKGROUND, IGNORED, PackedTargets, Targets

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
# A row of five anchors of 10 x 10 around (5, 5), (15, 5), ... and one of 40 x 40 around (25, 25).
GRID = PriorGrid(
    (
        Level(10, 1, 5, 5.0, ((0.0, 0.0, 10.0, 10.0),)),
        Level(50, 1, 1, 25.0, ((5.0, 5.0, 45.0, 45.0),)),
    )
)
ANCHORS = Anchors(strides=(4, 8, 16))(((32, 40), (16, 20), (8, 10)))


def packed(boxes: list[list[float]], ignore: list[list[float]] | None = None) -> PackedTargets:
    gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(gt), dtype=torch.int64)
    ignore_boxes = torch.tensor(ignore or [], dtype=torch.float32).reshape(-1, 4)
    return PackedTargets.pack([Targets(gt, labels, ignore_boxes, (128, 160), (128, 160))])


def taken(rule: NWDRKA, *boxes: list[float]) -> list[int]:
    codes: list[int] = rule(GRID, packed([*boxes])).gt_index[0].tolist()
    return codes


def test_nothing_to_learn() -> None:
    assert taken(NWDRKA()) == [BACKGROUND] * 6
    empty = NWDRKA()(
        PriorGrid((Level(8, 0, 0, 0.0, ((0.0, 0.0, 8.0, 8.0),)),)), packed([[0, 0, 9, 9]])
    )
    assert empty.gt_index.shape == (1, 0)


def test_every_object_takes_k_by_hand() -> None:
    box = [
        11.0,
        0.0,
        21.0,
        10.0,
    ]  # 1 px from the second anchor, 9 from the third, 11 from the first
    assert taken(NWDRKA(topk=1), box) == [-1, 0, -1, -1, -1, -1]
    assert taken(NWDRKA(), box) == [-1, 0, 0, -1, -1, -1]
    assert taken(NWDRKA(topk=3), box) == [0, 0, 0, -1, -1, -1]
    quality = NWDRKA(nwd_constant=2.0)(GRID, packed([box])).quality[0]
    want = [0, math.exp(-1 / 2), math.exp(-9 / 2), 0, 0, 0]
    assert quality.tolist() == pytest.approx(want, rel=1e-4)


def test_sides_count_half_as_much_as_places() -> None:
    box = [10.0, 0.0, 40.0, 30.0]  # 15 px and a side of 40 / 2 from the large anchor
    assert taken(NWDRKA(topk=1), box) == [-1, -1, -1, -1, -1, 0]


def test_of_equally_near_priors_the_first() -> None:
    between = [
        10.0,
        0.0,
        40.0,
        10.0,
    ]  # around the third anchor, as far from the others on each side
    assert taken(NWDRKA(topk=2), between) == [-1, 0, 0, -1, -1, -1]
    assert taken(NWDRKA(topk=1), [5.0, 0.0, 15.0, 10.0]) == [0, -1, -1, -1, -1, -1]


def test_conflicts_go_to_the_nearer_object_then_to_the_first() -> None:
    near, far = [10.0, 0.0, 20.0, 10.0], [12.0, 0.0, 22.0, 10.0]
    assert taken(NWDRKA(topk=1), far, near) == [-1, 1, -1, -1, -1, -1]
    assert taken(NWDRKA(topk=1), near, far) == [-1, 0, -1, -1, -1, -1]
    assert taken(NWDRKA(topk=2), near, near) == [0, 0, -1, -1, -1, -1]


def test_more_than_there_are() -> None:
    assert taken(NWDRKA(topk=9), [11.0, 0.0, 21.0, 10.0]) == [0] * 6


def test_far_objects_have_priors_and_some_quality() -> None:
    assignment = NWDRKA(nwd_constant=0.1)(GRID, packed([[9000.0, 0.0, 9010.0, 10.0]]))
    assert assignment.gt_index[0].tolist() == [-1, -1, -1, 0, 0, -1]
    assert torch.equal(assignment.quality > 0, assignment.positive)


def test_the_constant_touches_no_label() -> None:
    targets = packed([[40, 40, 52, 50], [42, 41, 50, 53], [0, 0, 2, 2], [100, 90, 160, 128]])
    labels = [NWDRKA(nwd_constant=c)(ANCHORS, targets).gt_index for c in (0.5, 12.8, 400.0)]
    assert torch.equal(labels[0], labels[1])
    assert torch.equal(labels[1], labels[2])


@pytest.mark.parametrize(
    "box",
    [
        [40.0, 40, 56, 57],
        [0, 0, 10, 12],
        [150, 100, 160, 128],
        [61, 33, 62.5, 34],
        [3, 2, 157, 126],
    ],
    ids=["one", "first corner", "last corner", "tiny", "huge"],
)
@pytest.mark.parametrize("topk", [1, 2, 5])
def test_one_object_gets_exactly_k(box: list[float], topk: int) -> None:
    assert int(NWDRKA(topk=topk)(ANCHORS, packed([box])).positive.sum()) == topk


def test_covered_priors_are_ignored_and_replaced() -> None:
    targets = packed([[11.0, 0.0, 21.0, 10.0]], [[10.0, 0.0, 20.0, 8.0]])
    rule = NWDRKA(ignore_iof=0.5)
    assert rule(GRID, targets).gt_index[0].tolist() == [0, IGNORED, 0, -1, -1, -1]
    assert NWDRKA()(GRID, targets).gt_index[0].tolist() == [-1, 0, 0, -1, -1, -1]
    everything = packed([[11.0, 0.0, 21.0, 10.0]], [[-10.0, -10.0, 100.0, 100.0]])
    assert rule(GRID, everything).gt_index[0].tolist() == [IGNORED] * 6


rules = st.builds(
    NWDRKA, topk=st.sampled_from((1, 2, 3, 5, 17)), ignore_iof=st.sampled_from((None, 0.2, 0.5))
)
anchors = st.sampled_from(
    (
        Anchors(),
        Anchors(scales=(8.0,)),
        Anchors(scales=(2.0,), ratios=(1.0,)),
        Anchors(scales=(2.0, 4.0), ratios=(1.0, 3.0), center_offset=0.5, scale_major=False),
    )
)


@EXAMPLES
@given(scene=scenes(200), priors=anchors, rule=rules)
def test_equals_the_dense_form(scene: Scene, priors: Anchors, rule: NWDRKA) -> None:
    assert differences(rule, grid_of(priors, scene), scene.targets()) == []


@EXAMPLES
@given(scene=scenes(60), priors=anchors, rule=rules, size=st.integers(1, 2000))
def test_parts_of_a_long_list_make_no_difference(
    scene: Scene, priors: Anchors, rule: NWDRKA, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "MAX_PAIRS", size)
        assert differences(rule, grid_of(priors, scene), scene.targets()) == []


def test_objects_without_area() -> None:
    boxes: list[list[float]] = [
        [30, 30, 30, 30],
        [64, 10, 64, 40],
        [10, 64, 50, 64],
        [30, 30, 30, 30],
    ]
    assert differences(NWDRKA(topk=4), ANCHORS, packed(boxes)) == []


def test_rules_for_what_takes_part() -> None:
    targets = packed([[40.0, 40, 56, 57], [0, 0, 4, 4]])
    for limit in ({"valid_sizes": ((33, 47),)}, {"allowed_border": 0.0}):
        limited = replace(targets, **limit)
        assert differences(NWDRKA(topk=3), ANCHORS, limited) == []
        assert int(NWDRKA(topk=3)(ANCHORS, limited).positive.sum()) == 6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"topk": 0}, "topk must be at least 1; got 0"),
        ({"nwd_constant": 0.0}, "nwd_constant must be positive; got 0.0"),
        ({"ignore_iof": -0.5}, "ignore_iof must be positive or None; got -0.5"),
    ],
    ids=str,
)
def test_wrong_choices(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NWDRKA(**wrong)  # type: ignore[arg-type]
