import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from assignment_scenes import Scene, scenes
from dense_gaussian import dense_gaussian
from motedet.assign import GaussianAssigner, GaussianMaps, pairs
from motedet.errors import RecipeError
from motedet.priors import Anchors, AnyPriors, Points, PriorGrid
from motedet.structures import BACKGROUND, PackedTargets, Targets

EXAMPLES = settings(
    max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
HEIGHT, WIDTH = 128, 160
ROWS, COLUMNS = 32, 40
POINTS = Points(strides=(4,), offset=0.0)
ANCHORS = Anchors(strides=(4,), ratios=(1.0,), scales=(3.0,))
GRID = POINTS([(ROWS, COLUMNS)])
RULE = GaussianAssigner()
FULL = GaussianAssigner(pos_thresh=0.01)  # as in FCOS


def packed(
    *images: list[list[float]],
    labels: list[int] | None = None,
    ignore: list[list[float]] | None = None,
) -> PackedTargets:
    records = []
    for boxes in images:
        gt = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        classes = torch.tensor(labels or [0] * len(gt), dtype=torch.int64)
        ignore_boxes = torch.tensor(ignore or [], dtype=torch.float32).reshape(-1, 4)
        records.append(Targets(gt, classes, ignore_boxes, (HEIGHT, WIDTH), (HEIGHT, WIDTH)))
    return PackedTargets.pack(records)


def around(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def owned(rule: GaussianAssigner, targets: PackedTargets, row: int = 0) -> set[tuple[int, int]]:
    """(column, row) of the cells of an object."""
    found = (rule(GRID, targets).gt_index == row).nonzero()[:, 1]
    return {(int(cell) % COLUMNS, int(cell) // COLUMNS) for cell in found}


# --- By hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "at_a_tenth", "at_a_hundredth"),
    [
        (7.9, 7.9, 1, 1),
        (12, 5, 3, 3),
        (5, 12, 3, 3),
        (16, 7.9, 3, 5),
        (7.9, 16, 3, 5),
        (8, 15.9, 5, 9),
        (20, 12, 5, 11),
        (12, 20, 5, 11),
        (16, 16, 9, 21),
        (70, 50, 9, 21),
    ],
)
def test_number_of_positives(
    width: float, height: float, at_a_tenth: int, at_a_hundredth: int
) -> None:
    targets = packed([around(81, 61, width, height)])
    assert len(owned(RULE, targets)) == at_a_tenth
    assert len(owned(FULL, targets)) == at_a_hundredth
    # at alpha 0.54 half sides are 0 below 14.8 px, and 1 above
    small = replace(RULE, alpha=0.54, inclusive=False)
    reach = (min(width, 16) > 14.8) + (min(height, 16) > 14.8)
    assert len(owned(small, targets)) == (1, 3, 5)[reach]


def test_kernel_by_hand() -> None:
    targets = packed([around(81, 61, 20, 12)], labels=[1])  # half sides of 2 and 1, cell (20, 15)
    maps = FULL.maps(GRID, targets, 3)
    drawn = maps.heatmap[0, :, 1].view(ROWS, COLUMNS)
    sigma_x, sigma_y = 5 / 6, 1 / 2
    expected = torch.tensor(
        [
            [math.exp(-(x**2) / (2 * sigma_x**2) - y**2 / (2 * sigma_y**2)) for x in range(-2, 3)]
            for y in range(-1, 2)
        ]
    )
    torch.testing.assert_close(drawn[14:17, 18:23], expected)
    assert drawn[15, 20] == 1
    assert (drawn > 0).sum() == 15
    assert maps.heatmap[0, :, [0, 2]].sum() == 0
    positive = maps.match.positive[0].view(ROWS, COLUMNS)
    assert torch.equal(positive[14:17, 18:23], expected >= 0.01)
    quality = maps.match.quality[0].view(ROWS, COLUMNS)
    torch.testing.assert_close(quality[positive], drawn[positive])
    assert (quality[~positive] == 0).all()


def test_an_undisturbed_object_weighs_its_processed_area() -> None:
    targets = packed([around(81, 61, 20, 12), around(20, 20, 3, 5)])
    areas = [21.0 * 13.0, 4.0 * 6.0]
    wanted = {"log": math.log, "sqrt": math.sqrt, "none": float}
    for area in ("log", "sqrt", "none"):
        maps = replace(RULE, area=area).maps(GRID, targets, 1)
        for row, size in enumerate(areas):
            total = maps.box_weight[maps.match.gt_index == row].sum()
            assert float(total) == pytest.approx(wanted[area](size), rel=1e-5)
        assert (maps.box_weight[~maps.match.positive] == 0).all()
    flat = replace(RULE, weighted=False).maps(GRID, targets, 1)
    assert torch.equal(flat.box_weight, flat.match.positive.float())


def test_beta_draws_the_positives_and_alpha_the_heat_map() -> None:
    targets = packed([around(81, 61, 12, 12)])
    maps = replace(RULE, beta=0.5).maps(GRID, targets, 1)
    assert (maps.heatmap > 0).sum() == 9
    assert maps.match.positive.sum() == 1
    assert float(maps.box_weight.sum()) == pytest.approx(math.log(169), rel=1e-5)


def test_comparison_at_the_threshold() -> None:
    targets = packed([around(81, 61, 12, 12)])
    assert len(owned(replace(RULE, pos_thresh=1.0), targets)) == 1
    value = sorted(set(RULE.maps(GRID, targets, 1).heatmap.flatten().tolist()))[-2]
    edge = replace(RULE, pos_thresh=value)
    assert len(owned(edge, targets)) == 5
    assert len(owned(replace(edge, inclusive=False), targets)) == 1


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_the_centre_cell_does_not_depend_on_the_priors(offset: float) -> None:
    targets = packed([[80.0, 60, 83, 64], [10, 10, 26, 31]])
    expected = RULE(GRID, targets)
    moved = RULE(Points(strides=(4,), offset=offset)([(ROWS, COLUMNS)]), targets)
    anchors = RULE(ANCHORS([(ROWS, COLUMNS)]), targets)
    for other in (moved, anchors):
        assert torch.equal(expected.gt_index, other.gt_index)
        assert torch.equal(expected.quality, other.quality)


# --- Conflicts --------------------------------------------------------------------------------


def test_smaller_objects_win_and_keep_their_weight() -> None:
    large, small = around(82, 62, 40, 40), around(86, 62, 5, 5)
    for boxes, winner in (([large, small], 1), ([small, large], 0)):
        maps = RULE.maps(GRID, packed(boxes), 1)
        assert (maps.match.gt_index == winner).sum() == 1
        assert (maps.match.gt_index == 1 - winner).sum() == 8
        # the sum is over all cells of the large one, also the one that it lost
        alone = RULE.maps(GRID, packed([large]), 1)
        kept = maps.match.gt_index == 1 - winner
        torch.testing.assert_close(maps.box_weight[kept], alone.box_weight[kept])


def test_the_later_of_identical_objects_wins() -> None:
    box = around(82, 62, 12, 12)
    maps = RULE.maps(GRID, packed([box, box, box], labels=[2, 0, 1]), 3)
    assert set(maps.match.gt_index.flatten().tolist()) == {BACKGROUND, 2}
    per_class = maps.heatmap[0].T  # each draws in the map of its class
    assert torch.equal(per_class[0], per_class[1])
    assert torch.equal(per_class[0], per_class[2])


def test_the_owner_is_class_agnostic_and_the_heat_map_takes_the_maximum() -> None:
    left, right = around(82, 62, 12, 12), around(86, 62, 11, 11)  # neighbouring cells
    same = RULE.maps(GRID, packed([left, right], labels=[0, 0]), 2)
    other = RULE.maps(GRID, packed([left, right], labels=[0, 1]), 2)
    assert torch.equal(same.match.gt_index, other.match.gt_index)
    assert torch.equal(same.heatmap[..., 0], other.heatmap.amax(-1))


def test_permuting_objects_permutes_the_answer() -> None:
    generator = torch.Generator().manual_seed(5)
    center = torch.rand(60, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    half = 1 + 10 * torch.rand(60, 2, generator=generator)
    boxes = torch.cat((center - half, center + half), dim=1)
    order = torch.randperm(60, generator=generator)
    plain = RULE.maps(GRID, packed(boxes.tolist()), 1)
    mixed = RULE.maps(GRID, packed(boxes[order].tolist()), 1)
    back = order[mixed.match.gt_index.clamp(min=0)]
    assert torch.equal(plain.match.gt_index, back.where(mixed.match.positive, BACKGROUND))
    assert torch.equal(plain.heatmap, mixed.heatmap)
    assert torch.equal(plain.box_weight, mixed.box_weight)


# --- Unusual objects --------------------------------------------------------------------------


@pytest.mark.parametrize("num_images", [1, 3])
def test_no_objects(num_images: int) -> None:
    maps = RULE.maps(GRID, packed(*[[] for _ in range(num_images)]), 2)
    assert (maps.match.gt_index == BACKGROUND).all()
    assert maps.heatmap.shape == (num_images, ROWS * COLUMNS, 2)
    assert maps.box_weight.shape == (num_images, ROWS * COLUMNS)
    assert maps.heatmap.sum() == maps.box_weight.sum() == 0
    assert maps.heatmap.dtype == maps.box_weight.dtype == torch.float32


def test_no_cells() -> None:
    grid = POINTS([(0, 0)])
    assert RULE(grid, packed([[0, 0, 9, 9]])).gt_index.shape == (1, 0)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    images: list[list[list[float]]] = [[[40, 40, 56, 57]], [], [[0, 0, 9, 9], [90, 60, 99, 80]]]
    together = RULE.maps(GRID, packed(*images), 1)
    first = 0
    for number, image in enumerate(images):
        alone = RULE.maps(GRID, packed(image), 1)
        gt_index = alone.match.gt_index[0]
        assert torch.equal(
            together.match.gt_index[number], torch.where(gt_index >= 0, gt_index + first, gt_index)
        )
        assert torch.equal(together.heatmap[number], alone.heatmap[0])
        assert torch.equal(together.box_weight[number], alone.box_weight[0])
        first += len(image)


def test_kernels_are_clipped_to_the_map() -> None:
    assert owned(RULE, packed([[0, 0, 2, 2]])) == {(0, 0)}
    assert owned(RULE, packed([[-8, -8, 9, 9]])) == {(0, 0), (1, 0), (0, 1)}  # 9 px are inside
    assert owned(RULE, packed([[158, 126, 160, 128]])) == {(39, 31)}
    # the last cell's first pixel ends the map: 12 of the 16 px count
    assert owned(FULL, packed([[144, 40, 160, 42]])) == {(37, 10), (38, 10), (39, 10)}


def test_centres_outside_the_map() -> None:
    assert owned(RULE, packed([[-1, 40, 0, 41]])) == {(0, 10)}  # truncation moves -0.1 to 0
    assert owned(RULE, packed([[-12, 40, -2, 50]])) == set()
    # the centre is in column 40, one beyond the last, but the Gaussian reaches into the map
    reaching = packed([[140, 40, 180, 42]])
    assert owned(RULE, reaching) == {(39, 10)}
    assert owned(replace(RULE, max_side=8.0), reaching) == {(39, 10)}
    assert owned(replace(RULE, max_side=7.0), reaching) == set()
    assert owned(RULE, packed([[1e9, 40, 2e9, 50]])) == set()
    assert owned(RULE, packed([[140, 40, 180, 42], [20, 20, 22, 22]]), 1) == {(5, 5)}


def test_objects_without_a_size() -> None:
    maps = RULE.maps(GRID, packed([[80, 60, 80, 60], [40, 20, 52, 20]]), 1)
    assert (maps.match.gt_index == 0).sum() == 1
    assert maps.match.quality[maps.match.gt_index == 0] == 1
    assert maps.box_weight[maps.match.gt_index == 0] == 0  # ln 1
    assert (maps.match.gt_index == 1).sum() == 3


def test_huge_objects() -> None:
    everything = [-1e6, -1e6, 1e6 + WIDTH, 1e6 + HEIGHT]
    targets = packed([everything, around(20, 20, 3, 3)])
    maps = replace(FULL, max_side=math.inf).maps(GRID, targets, 1)
    assert (maps.match.gt_index == 1).sum() == 1
    assert (maps.match.gt_index == 0).sum() > 500
    assert maps.heatmap[0, 16 * COLUMNS + 20, 0] == 1
    assert maps.box_weight.isfinite().all()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_parts_of_a_long_list_make_no_difference(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = [around(10 + 7 * i, 10 + 5 * i, 60 - 3 * i, 10 + i) for i in range(18)]
    rule = replace(FULL, max_side=1e4)
    whole = rule.maps(GRID, packed(boxes), 1)
    monkeypatch.setattr(pairs, "MAX_PAIRS", size)
    parts = rule.maps(GRID, packed(boxes), 1)
    assert torch.equal(whole.match.gt_index, parts.match.gt_index)
    assert torch.equal(whole.heatmap, parts.heatmap)
    assert torch.equal(whole.box_weight, parts.box_weight)


# --- What takes no part -----------------------------------------------------------------------


def test_the_map_of_an_image_is_its_valid_part() -> None:
    targets = packed([[50, 50, 64, 61]], [])
    targets = replace(targets, valid_sizes=((64, 60), (HEIGHT, WIDTH)))
    match = RULE(GRID, targets)
    inside = GRID.inside([(64, 60)])[0]
    assert torch.equal(match.ignored[0], ~inside)
    assert not match.ignored[1].any()
    # column 14 is the last of 60 px and ends the object, whose half side is 0; the centre is there
    assert owned(RULE, targets) == {(14, 12), (14, 13), (14, 14)}


@pytest.mark.parametrize("border", [0.0, 3.0])
def test_anchors_that_reach_out_of_the_image_are_ignored(border: float) -> None:
    grid = ANCHORS([(ROWS, COLUMNS)])
    targets = replace(packed([[0, 0, 9, 9], [50, 50, 62, 61]], []), allowed_border=border)
    maps = RULE.maps(grid, targets, 1)
    within = grid.within([(HEIGHT, WIDTH)], border)[0]
    assert torch.equal(maps.match.ignored, (~within).expand(2, -1))
    assert set(maps.match.gt_index[0, within].tolist()) >= {BACKGROUND, 1}
    assert (maps.heatmap[0, ~within] == 0).all()
    assert (maps.match.quality[0, ~within] == 0).all()


@pytest.mark.parametrize("priors", [POINTS, ANCHORS], ids=["points", "anchors"])
def test_ignore_boxes(priors: AnyPriors) -> None:
    grid = priors([(ROWS, COLUMNS)])
    targets = packed([[40, 40, 56, 57]], [], ignore=[[0, 0, 50, HEIGHT]])
    assert not RULE(grid, targets).ignored.any()
    match = replace(RULE, ignore_iof=0.4).maps(grid, targets, 1).match
    assert not match.ignored[1].any()  # as everywhere, only where there are objects
    ignored = match.ignored[0].view(ROWS, COLUMNS)
    assert ignored[1:, :12].all()  # the anchor in the corner is mostly outside
    assert not ignored[:, 13:].any()
    columns = match.positive[0].nonzero()[:, 0] % COLUMNS
    assert set(columns.tolist()) == {13}  # of columns 11 to 13


def test_answer_follows_the_device() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    targets = packed([[40, 40, 56, 57], [44, 44, 52, 52]], [[90, 60, 99, 80]])
    here = RULE.maps(GRID, targets, 2)
    moved = replace(
        targets,
        boxes=targets.boxes.to(device),
        labels=targets.labels.to(device),
        image_index=targets.image_index.to(device),
        ignore_boxes=targets.ignore_boxes.to(device),
        ignore_image_index=targets.ignore_image_index.to(device),
    )
    there = RULE.maps(GRID, moved, 2)
    assert there.heatmap.device.type == device
    assert torch.equal(there.match.gt_index.cpu(), here.match.gt_index)
    torch.testing.assert_close(there.heatmap.cpu(), here.heatmap)
    torch.testing.assert_close(there.box_weight.cpu(), here.box_weight)


# --- Bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "priors",
    [
        Points(strides=(4, 8)),
        Anchors(strides=(4,)),
        Anchors(strides=(4, 8), ratios=(1.0,), scales=(3.0,)),
    ],
    ids=["levels", "per_cell", "anchor_levels"],
)
def test_more_than_one_map(priors: AnyPriors) -> None:
    sizes = [(ROWS * 4 // s, COLUMNS * 4 // s) for s in priors.strides]
    grid: PriorGrid = priors(sizes)
    message = r"'gaussian' needs one level and one prior per cell.* strides \(4,"
    with pytest.raises(RecipeError, match=message):
        RULE(grid, packed([[0, 0, 9, 9]]))
    with pytest.raises(RecipeError, match=message):
        RULE.maps(grid, packed([[0, 0, 9, 9]]), 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0.0),
        ("alpha", math.inf),
        ("beta", -1.0),
        ("beta", math.nan),
        ("max_side", 0.0),
        ("max_side", math.nan),
        ("pos_thresh", 0.0),
        ("pos_thresh", 1.1),
        ("ignore_iof", 0.0),
    ],
)
def test_bad_numbers(name: str, value: float) -> None:
    numbers = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        GaussianAssigner(**numbers)  # type: ignore[arg-type]


def test_an_exclusive_threshold_that_nothing_passes() -> None:
    with pytest.raises(ValueError, match=r"below 1 if it is not inclusive.* got 1\.0"):
        GaussianAssigner(pos_thresh=1.0, inclusive=False)


# --- The published form -----------------------------------------------------------------------

rules = st.builds(
    GaussianAssigner,
    alpha=st.sampled_from((1.0, 0.54, 2.5)),
    beta=st.sampled_from((None, None, 0.54, 1.7)),
    max_side=st.sampled_from((16.0, 16.0, 7.0, 48.0, 1e4)),
    pos_thresh=st.sampled_from((0.1, 0.01, 0.7, 1.0)),
    area=st.sampled_from(("log", "sqrt", "none")),
    weighted=st.booleans(),
    ignore_iof=st.sampled_from((None, 0.3, 0.5)),
)


def assert_same(got: GaussianMaps, want: GaussianMaps) -> None:
    different: Tensor = (got.match.gt_index != want.match.gt_index).nonzero()
    assert len(different) == 0, f"{len(different)} differ; first {different[0].tolist()}"
    torch.testing.assert_close(got.match.quality, want.match.quality, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.heatmap, want.heatmap, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.box_weight, want.box_weight, rtol=1e-5, atol=1e-6)


@EXAMPLES
@given(
    scene=scenes(60),
    priors=st.sampled_from((POINTS, Points(strides=(4,)), ANCHORS)),
    rule=rules,
    inclusive=st.booleans(),
)
def test_equals_the_dense_form(
    scene: Scene, priors: Points | Anchors, rule: GaussianAssigner, inclusive: bool
) -> None:
    rule = replace(rule, inclusive=inclusive or rule.pos_thresh == 1)
    scene = replace(scene, strides=scene.strides[:1])
    grid = replace(priors, strides=scene.strides)(scene.level_sizes)
    targets = scene.targets()
    targets = replace(targets, labels=torch.arange(len(targets.labels)) % 3)
    want = dense_gaussian(rule, grid, targets, 3)
    assert_same(rule.maps(grid, targets, 3), want)
    alone = rule(grid, targets)
    assert torch.equal(alone.gt_index, want.match.gt_index)
