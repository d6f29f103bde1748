"""Every prediction-aware assigner equals its published dense form on random batches."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assignment_scenes import Scene, scenes
from dense_predicted import dense_predicted
from motedet.assign import (
    DynamicSoftLabel,
    PredictionAware,
    SimOTA,
    TaskAligned,
    pairs,
)
from motedet.priors import Anchors, AnyPriors, Points
from predicted_scenes import Guess, guesses, predicted

EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check(assigner: PredictionAware, priors: AnyPriors, scene: Scene, guess: Guess) -> None:
    grid = replace(priors, strides=scene.strides)(scene.level_sizes)
    targets, predictions = predicted(scene, guess, grid)
    got = assigner(grid, targets, predictions)
    want, overlap = dense_predicted(assigner, grid, targets, predictions)
    different = (got.gt_index != want).nonzero()
    assert len(different) == 0, (
        f"{len(different)} differ; first {different[0].tolist()}: "
        f"{got.gt_index[tuple(different[0])]} for {want[tuple(different[0])]}"
    )
    if not isinstance(assigner, TaskAligned):
        assert torch.equal(got.quality, overlap)


every_prior = st.sampled_from(
    (
        Points(),
        Points(offset=0.0),
        Points(offset=0.3),
        Anchors(octave_base_scale=8.0, scales_per_octave=1, ratios=(1.0,)),
        Anchors(scales=(2.0, 4.0), ratios=(1.0, 3.0), center_offset=0.5, scale_major=False),
    )
)
sim_rules = st.builds(
    SimOTA,
    topk=st.sampled_from((10, 10, 1, 30)),
    radius=st.sampled_from((2.5, 0.4, 6.0)),
    iou_weight=st.sampled_from((3.0, 0.0)),
    cls_weight=st.sampled_from((1.0, 0.0)),
)
tal_rules = st.builds(
    TaskAligned,
    topk=st.sampled_from((13, 13, 1, 40)),
    alpha=st.sampled_from((1.0, 0.5, 0.0)),
    beta=st.sampled_from((6.0, 1.0)),
)
soft_rules = st.builds(
    DynamicSoftLabel,
    topk=st.sampled_from((13, 13, 1)),
    radius=st.sampled_from((3.0, 3.0, 0.0)),
    iou_weight=st.sampled_from((3.0, 3.0, 0.0)),
)
any_rule = sim_rules | tal_rules | soft_rules


@EXAMPLES
@given(scene=scenes(), priors=every_prior, guess=guesses, rule=sim_rules)
def test_simota(scene: Scene, priors: AnyPriors, guess: Guess, rule: SimOTA) -> None:
    check(rule, priors, scene, guess)


@EXAMPLES
@given(scene=scenes(), priors=every_prior, guess=guesses, rule=tal_rules)
def test_task_aligned(scene: Scene, priors: AnyPriors, guess: Guess, rule: TaskAligned) -> None:
    check(rule, priors, scene, guess)


@EXAMPLES
@given(scene=scenes(), priors=every_prior, guess=guesses, rule=soft_rules)
def test_dynamic_soft_label(
    scene: Scene, priors: AnyPriors, guess: Guess, rule: DynamicSoftLabel
) -> None:
    check(rule, priors, scene, guess)


@EXAMPLES
@given(
    scene=scenes(60), priors=every_prior, guess=guesses, rule=any_rule, size=st.integers(50, 5000)
)
def test_parts_of_a_long_list_make_no_difference(
    scene: Scene, priors: AnyPriors, guess: Guess, rule: PredictionAware, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "MAX_PAIRS", size)
        patch.setattr("motedet.geometry.meetings.MAX_PAIRS", size)
        patch.setattr("motedet.assign.simota.MAX_PAIRS", size)
        check(rule, priors, scene, guess)


@EXAMPLES
@given(guess=guesses, rule=soft_rules | sim_rules, seed=st.integers(0, 1000))
def test_objects_far_from_every_valid_prior(
    guess: Guess, rule: DynamicSoftLabel | SimOTA, seed: int
) -> None:
    """Objects of 1 px and one of 30 px, at a stride so fine that costs overflow."""
    scene = Scene((200, 300), (1,), (9, 0, 3), (0.3, 0.6), 0.0, 0.0, False, 0, False, seed)
    priors = Points(strides=(1,))
    grid = priors(scene.level_sizes)
    targets = scene.targets()
    boxes = targets.boxes.clone()
    boxes[[0, 9]] = torch.tensor([250.0, 150.0, 270.0, 163.0])
    targets = guess.labelled(replace(targets, boxes=boxes))
    predictions = guess.predictions(grid, targets)
    got = rule(grid, targets, predictions).gt_index
    assert torch.equal(got, dense_predicted(rule, grid, targets, predictions)[0])
