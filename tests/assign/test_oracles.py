"""Every assigner equals its published dense form, prior by prior, on random batches."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assignment_scenes import Scene, scenes
from dense_assigners import dense_assign
from motedet.assign import ATSS, FCOSAssigner, Hierarchical, MaxIoU, PlainAssigner, pairs
from motedet.priors import Anchors, AnyPriors, Points, ReceptiveFields

EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check(assigner: PlainAssigner, priors: AnyPriors, scene: Scene) -> None:
    grid = replace(priors, strides=scene.strides)(scene.level_sizes)
    targets = scene.targets()
    got = assigner(grid, targets)
    want = dense_assign(assigner, grid, targets)
    different = (got.gt_index != want).nonzero()
    assert len(different) == 0, (
        f"{len(different)} differ; first {different[0].tolist()}: "
        f"{got.gt_index[tuple(different[0])]} for {want[tuple(different[0])]}"
    )
    assert (got.quality[~got.positive] == 0).all()


anchors = st.sampled_from(
    (
        Anchors(),
        Anchors(scales=(8.0,)),
        Anchors(scales=(2.0,)),
        Anchors(octave_base_scale=8.0, scales_per_octave=1, ratios=(1.0,)),
        Anchors(scales=(2.0, 4.0), ratios=(1.0, 3.0), center_offset=0.5, scale_major=False),
    )
)
fields = st.sampled_from(
    (
        ReceptiveFields(),
        ReceptiveFields(start_level="p3", offset=0.0),
        ReceptiveFields(ratios=(0.5, 1.0, 2.0), offset=0.0),
        ReceptiveFields(source="network", trf=(19.0, 43.0, 99.0, 211.0, 435.0, 627.0)),
    )
)

max_iou_rules = st.builds(
    MaxIoU,
    pos_iou=st.sampled_from((0.5, 0.7)),
    neg_iou=st.sampled_from((0.4, 0.3, 0.5, (0.1, 0.3))),
    min_pos_iou=st.sampled_from((0.0, 0.0, 0.2, 0.3)),
    low_quality=st.booleans(),
    all_ties=st.booleans(),
    ignore_iof=st.sampled_from((None, 0.2, 0.5)),
    ignore_wrt_candidates=st.booleans(),
    zero_overlap_matches=st.booleans(),
    similarity=st.just("iou"),
)
nwd_rules = st.builds(
    MaxIoU,
    pos_iou=st.sampled_from((0.7, 0.7, 0.9)),
    neg_iou=st.sampled_from((0.3, 0.3, 0.6, (0.0, 0.3), (0.1, 0.3))),
    min_pos_iou=st.sampled_from((0.3, 0.3, 0.0, 0.5)),
    low_quality=st.booleans(),
    all_ties=st.booleans(),
    ignore_iof=st.sampled_from((None, 0.2, 0.5)),
    ignore_wrt_candidates=st.booleans(),
    zero_overlap_matches=st.booleans(),
    similarity=st.just("nwd"),
    nwd_constant=st.sampled_from((12.8, 2.0, 60.0)),
)
atss_rules = st.builds(
    ATSS, topk=st.sampled_from((1, 3, 9, 13)), ignore_iof=st.sampled_from((None, 0.5))
)
hierarchical_rules = st.builds(
    Hierarchical,
    similarity=st.sampled_from(("kl", "kl_10", "exp_kl", "wd", "nwd", "iou", "iof", "giou")),
    topk=st.tuples(st.sampled_from((1, 2, 3, 6)), st.sampled_from((1, 2))),
    ratio=st.sampled_from((0.9, 1.0, 0.7)),
    inside=st.booleans(),
    ignore_iof=st.sampled_from((None, 0.05, 0.3)),
    ignore_rule=st.sampled_from(("exclude", "published")),
    shared_priors=st.booleans(),
)


@EXAMPLES
@given(scene=scenes(), priors=anchors, rule=max_iou_rules)
def test_max_iou(scene: Scene, priors: Anchors, rule: MaxIoU) -> None:
    check(rule, priors, scene)


@EXAMPLES
@given(scene=scenes(), priors=anchors, rule=nwd_rules)
def test_max_nwd(scene: Scene, priors: Anchors, rule: MaxIoU) -> None:
    check(rule, priors, scene)


@EXAMPLES
@given(scene=scenes(), priors=anchors, rule=atss_rules)
def test_atss(scene: Scene, priors: Anchors, rule: ATSS) -> None:
    check(rule, priors, scene)


@EXAMPLES
@given(
    scene=scenes(),
    radius=st.sampled_from((None, 0.5, 1.5, 2.5)),
    offset=st.sampled_from((0.0, 0.5)),
    bounds=st.sampled_from(((64.0, 128.0, 256.0, 512.0), (8.0, 32.0, 32.0, 100.0))),
)
def test_fcos(scene: Scene, radius: float | None, offset: float, bounds: tuple[float, ...]) -> None:
    edges = (*(-1.0, *bounds)[: len(scene.strides)], 100000000.0)
    ranges = tuple(itertools.pairwise(edges))
    rule = FCOSAssigner(regress_ranges=ranges, center_radius=radius)
    check(rule, Points(offset=offset), scene)


@EXAMPLES
@given(scene=scenes(), priors=fields, rule=hierarchical_rules)
def test_hierarchical(scene: Scene, priors: ReceptiveFields, rule: Hierarchical) -> None:
    cells = sum(height * width for height, width in scene.level_sizes)
    if cells * len(priors.ratios) >= max(rule.topk):
        check(rule, priors, scene)


@EXAMPLES
@given(scene=scenes(60), priors=fields, rule=hierarchical_rules, size=st.integers(1, 2000))
def test_parts_of_a_long_list_make_no_difference(
    scene: Scene, priors: ReceptiveFields, rule: Hierarchical, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "MAX_PAIRS", size)
        test_hierarchical.hypothesis.inner_test(scene, priors, rule)  # type: ignore[attr-defined]


def test_degenerate_objects_share_plateaus() -> None:
    boxes = torch.tensor([[30.0, 30, 30, 30], [64, 10, 64, 40], [10, 64, 50, 64]])
    scene = Scene((128, 128), (4, 8, 16), (0,), (1.0, 2.0), 0.0, 0.0, False, 0, False, 0)
    for similarity in ("kl", "kl_10", "exp_kl", "wd", "nwd", "iou", "giou"):
        grid = ReceptiveFields(strides=scene.strides)(scene.level_sizes)
        targets = replace(scene.targets(), boxes=boxes, labels=torch.zeros(3, dtype=torch.int64))
        targets = replace(targets, image_index=torch.zeros(3, dtype=torch.int64))
        rule = Hierarchical(similarity=similarity)
        assert torch.equal(rule(grid, targets).gt_index, dense_assign(rule, grid, targets))
