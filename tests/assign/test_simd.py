import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from assignment_scenes import Scene, scenes
from dense_tiny_assigners import differences, grid_of
from motedet.assign import pairs
from motedet.assign.reach import similarity_distance_reach
from motedet.assign.simd import SimD, fit_simd
from motedet.geometry import similarity_distance
from motedet.priors import Anchors, Level, PriorGrid
from motedet.structures import BACKGROUND, IGNORED, PackedTargets, Targets

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
# A row of five anchors of 10 x 10 around (5, 5), (15, 5), ...
GRID = PriorGrid((Level(10, 1, 5, 5.0, ((0.0, 0.0, 10.0, 10.0),)),))
ANCHORS = Anchors(strides=(4, 8, 16))(((32, 40), (16, 20), (8, 10)))
RULE = SimD(m=4.0, n=3.0)


def packed(*images: list[list[float]], ignore: list[list[float]] | None = None) -> PackedTargets:
    records = []
    for boxes in images:
        gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        labels = torch.zeros(len(gt), dtype=torch.int64)
        ignore_boxes = torch.tensor(ignore or [], dtype=torch.float32).reshape(-1, 4)
        records.append(Targets(gt, labels, ignore_boxes, (128, 160), (128, 160)))
    return PackedTargets.pack(records)


def taken(rule: SimD, *boxes: list[float]) -> list[int]:
    codes: list[int] = rule(GRID, packed([*boxes])).gt_index[0].tolist()
    return codes


def test_nothing_to_learn() -> None:
    assert taken(RULE) == [BACKGROUND] * 5
    empty = RULE(PriorGrid((Level(8, 0, 0, 0.0, ((0.0, 0.0, 8.0, 8.0),)),)), packed([[0, 0, 9, 9]]))
    assert empty.gt_index.shape == (1, 0)


def test_thresholds_by_hand() -> None:
    # of equal size d px away SimD is exp(-4 d / 20): 1 px 0.82, 3 px 0.55, 7 px 0.25, 9 px 0.17
    assert taken(RULE, [11.0, 0, 21, 10]) == [-1, 0, -1, -1, -1]
    assert taken(RULE, [13.0, 0, 23, 10]) == [-1, 0, -1, -1, -1]  # its best prior
    assert taken(replace(RULE, min_pos_simd=0.6), [13.0, 0, 23, 10]) == [-1, -2, -1, -1, -1]
    quality = RULE(GRID, packed([[13.0, 0, 23, 10]])).quality[0]
    assert quality.tolist() == pytest.approx([0, math.exp(-0.6), 0, 0, 0], rel=1e-5)


def test_an_object_without_a_like_prior_gets_none_unless_the_minimum_is_zero() -> None:
    tiny = [14.0, 4.0, 16.0, 6.0]  # sides of 2 and 10: SimD is exp(-5 * 8 / 12)
    assert taken(RULE, tiny) == [-1] * 5
    assert taken(replace(RULE, min_pos_simd=0.0), tiny) == [-1, 0, -1, -1, -1]
    far = replace(RULE, min_pos_simd=0.0, m=1e6)
    assert taken(far, [14.0, 0, 24, 10]) == [-1] * 5  # 0 in float32


def test_all_ties_and_the_last_of_equal_objects() -> None:
    between = [15.0, 0.0, 25.0, 10.0]  # 5 px from the second and the third anchor: 0.37
    assert taken(RULE, between) == [-1, 0, 0, -1, -1]
    same = [11.0, 0.0, 21.0, 10.0]
    assert taken(RULE, same, same) == [-1, 1, -1, -1, -1]
    assert taken(replace(RULE, min_pos_simd=1.0), same, same) == [-1, 0, -1, -1, -1]


def test_x_goes_with_m_and_y_with_n() -> None:
    right, down = [13.0, 0.0, 23.0, 10.0], [10.0, 3.0, 20.0, 13.0]
    for box, weight in ((right, 4.0), (down, 3.0)):
        quality = RULE(GRID, packed([box])).quality[0, 1]
        assert float(quality) == pytest.approx(math.exp(-weight * 3 / 20), rel=1e-5)


def test_covered_priors_are_ignored() -> None:
    targets = packed([[11.0, 0.0, 21.0, 10.0]], ignore=[[10.0, 0.0, 20.0, 8.0]])
    rule = replace(RULE, ignore_iof=0.5, min_pos_simd=0.1)
    assert rule(GRID, targets).gt_index[0].tolist() == [-1, IGNORED, 0, -1, -1]
    assert replace(rule, ignore_iof=None)(GRID, targets).gt_index[0].tolist() == [-1, 0, -1, -1, -1]


rules = st.builds(
    SimD,
    m=st.sampled_from((6.13, 1.0, 12.0, 0.1)),
    n=st.sampled_from((4.59, 1.0, 12.0)),
    pos_simd=st.sampled_from((0.7, 0.4)),
    neg_simd=st.sampled_from((0.3, 0.05, 0.4)),
    min_pos_simd=st.sampled_from((0.3, 0.0, 0.01)),
    ignore_iof=st.sampled_from((None, 0.2, 0.5)),
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
def test_equals_the_dense_form(scene: Scene, priors: Anchors, rule: SimD) -> None:
    assert differences(rule, grid_of(priors, scene), scene.targets()) == []


@EXAMPLES
@given(scene=scenes(60), priors=anchors, rule=rules, size=st.integers(1, 2000))
def test_parts_of_a_long_list_make_no_difference(
    scene: Scene, priors: Anchors, rule: SimD, size: int
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
    assert differences(replace(RULE, min_pos_simd=0.0), ANCHORS, packed(boxes)) == []


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
def test_every_object_gets_some_if_the_minimum_is_zero(box: list[float]) -> None:
    assert bool(replace(RULE, min_pos_simd=0.0)(ANCHORS, packed([box])).positive.any())


@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-3, 0.3, 0.8])
def test_nothing_similar_is_out_of_reach(level: float) -> None:
    generator = torch.Generator().manual_seed(1)
    sides = (torch.rand(4000, 2, generator=generator) * 7 - 1).exp()
    unlike = torch.rand(4000, 1, generator=generator).square()  # some pairs hardly at all
    prior_sides = (sides.log() + 0.2 * unlike * torch.randn(4000, 2, generator=generator)).exp()
    offset = torch.randn(4000, 2, generator=generator) * sides * unlike
    boxes = torch.cat((-sides / 2, sides / 2), dim=1)
    priors = torch.cat((offset - prior_sides / 2, offset + prior_sides / 2), dim=1)
    value = similarity_distance(boxes, priors, m=6.13, n=4.59)
    similar = (value >= level) & (value > 0)
    assert int(similar.sum()) > 20
    for row in similar.nonzero()[:200, 0].tolist():
        reach = similarity_distance_reach(
            sides[row].view(1, 1, 2),
            prior_sides[row][None],
            torch.tensor([level]),
            m=6.13,
            n=4.59,
        )
        assert (offset[row].abs() <= reach[0, 0]).all()


def test_reach_by_hand() -> None:
    sides, prior_sides = torch.full((1, 1, 2), 12.0), torch.tensor([[18.0, 18.0], [90.0, 90.0]])
    reach = similarity_distance_reach(sides, prior_sides, torch.tensor([0.2]), m=4.0, n=2.0)[0]
    # the shapes are worth sqrt(0.8^2 + 0.4^2) of -ln 0.2, the rest is for the places
    left = math.log(5) - math.hypot(0.8, 0.4)
    assert reach[0].tolist() == pytest.approx([30 / 4 * left, 30 / 2 * left], rel=0.01)
    assert reach[1].tolist() == [-math.inf] * 2


def means(grid: PriorGrid, boxes: Tensor, keep: Tensor) -> Tensor:
    """[2, pairs] the ratios that m and n are means of, by the table."""
    priors = grid.boxes()[keep].double()
    gt = boxes.double()[:, None]  # [G, 1, 4]
    apart = ((gt[..., :2] + gt[..., 2:]) / 2 - (priors[:, :2] + priors[:, 2:]) / 2).abs()
    sides = gt[..., 2:] - gt[..., :2] + priors[:, 2:] - priors[:, :2]
    return (apart / sides).reshape(-1, 2).T


@EXAMPLES
@given(scene=scenes(40), priors=anchors)
def test_fit_equals_the_table(scene: Scene, priors: Anchors) -> None:
    grid, targets = grid_of(priors, scene), scene.targets()
    keep = torch.ones(targets.num_images, grid.num_priors, dtype=torch.bool)
    if targets.valid_sizes is not None:
        keep &= grid.inside(targets.valid_sizes)
    if targets.allowed_border is not None:
        keep &= grid.within(targets.image_sizes, targets.allowed_border)
    ratios = torch.cat(
        [means(grid, targets.boxes[targets.image_index == b], k) for b, k in enumerate(keep)], dim=1
    )
    if ratios.numel() == 0:
        with pytest.raises(ValueError, match="got none"):
            fit_simd([(grid, targets)])
    else:
        assert fit_simd([(grid, targets)]) == pytest.approx(ratios.mean(1).tolist(), rel=1e-5)


def test_fit_of_several_batches_weighs_every_pair_the_same() -> None:
    first, second = packed([[0.0, 0, 10, 10]]), packed([[20.0, 0, 30, 10], [20, 0, 30, 10]], [])
    # distances of 0, 10, 20, 30, 40 and, twice, of 20, 10, 0, 10, 20 over sums of 20
    assert fit_simd([(GRID, first), (GRID, second)]) == pytest.approx((220 / 20 / 15, 0.0))
    together = fit_simd([(GRID, packed([[0.0, 0, 10, 10]], [[20.0, 0, 30, 10]] * 2))])
    assert together == pytest.approx((220 / 20 / 15, 0.0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"m": 0.0}, "m must be positive and finite; got 0.0"),
        ({"n": float("inf")}, "n must be positive and finite; got inf"),
        ({"neg_simd": 0.0}, "in rising order; got 0.0 and 0.7"),
        ({"pos_simd": 0.2}, "in rising order; got 0.3 and 0.2"),
        ({"min_pos_simd": -0.1}, "min_pos_simd must be at least 0; got -0.1"),
        ({"ignore_iof": 0.0}, "ignore_iof must be positive or None; got 0.0"),
    ],
    ids=str,
)
def test_wrong_numbers(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULE, **wrong)  # type: ignore[arg-type]
