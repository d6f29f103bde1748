"""What dense detectors share."""

import os
import socket

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from motedet.errors import RecipeError
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import (
    HeadOutputs,
    centerness,
    fitted_priors,
    global_mean,
    positives_or_one,
    prior_labels,
)
from motedet.priors import Points, ReceptiveFields
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Targets
from small_detectors import scene, small_specs


def test_labels_of_priors() -> None:
    match = Assignment(torch.tensor([[0, BACKGROUND, IGNORED], [2, 1, 2]]), torch.zeros(2, 3))
    packed = PackedTargets(
        boxes=torch.zeros(3, 4),
        labels=torch.tensor([5, 6, 7]),
        image_index=torch.tensor([0, 1, 1]),
        ignore_boxes=torch.zeros(0, 4),
        ignore_image_index=torch.zeros(0, dtype=torch.int64),
        image_sizes=((8, 8), (8, 8)),
    )
    assert prior_labels(match, packed).tolist() == [[5, -1, -1], [7, 6, 7]]
    assert positives_or_one(match) == 4


def test_labels_without_objects() -> None:
    match = Assignment(torch.full((2, 3), BACKGROUND), torch.zeros(2, 3))
    packed = PackedTargets.pack(
        [Targets.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (8, 8))] * 2
    )
    assert prior_labels(match, packed).tolist() == [[-1] * 3] * 2
    assert positives_or_one(match) == 2


def test_ctrness_by_hand() -> None:
    ltrb = torch.tensor([[2.0, 3, 2, 3], [1, 1, 4, 1], [1, 1, 4, 4]])
    torch.testing.assert_close(centerness(ltrb), torch.tensor([1.0, 0.5, 0.25]))
    assert centerness(torch.zeros(0, 4)).shape == (0,)
    assert centerness(torch.zeros(1, 4)) == 0  # a point on an object without area


def test_ctrness_does_not_depend_on_the_unit() -> None:
    ltrb = torch.rand(50, 4) + 0.1
    torch.testing.assert_close(centerness(ltrb), centerness(8 * ltrb))


def test_points_outside_their_object_get_the_floor() -> None:
    outside = torch.tensor([[-1.0, 2, 4, 2]])
    found = centerness(outside, floor=0.01)
    torch.testing.assert_close(found, torch.tensor([(0.01 / 4) ** 0.5]))


def test_global_mean_of_one_process() -> None:
    assert global_mean(torch.tensor(5), minimum=1) == 5
    assert global_mean(torch.tensor(0), minimum=1) == 1
    assert not global_mean(torch.tensor(2.0, requires_grad=True), minimum=1).requires_grad


def test_priors_must_have_the_levels_of_the_neck() -> None:
    backbone = BackboneSpec(name="resnet18", out_stages=(1,)).build()
    assert fitted_priors(Points(strides=(4,)), backbone, (4,)) == Points(strides=(4,))
    with pytest.raises(RecipeError, match=r"strides \(4,\) must be those of the priors \(8,\)"):
        fitted_priors(Points(strides=(8,)), backbone, (4,))


def test_receptive_fields_of_the_network_itself() -> None:
    backbone = BackboneSpec(name="resnet18", out_stages=(1, 2)).build()
    wanted = ReceptiveFields(strides=(4, 8), source="network")
    fitted = fitted_priors(wanted, backbone, (4, 8))
    assert isinstance(fitted, ReceptiveFields)
    assert fitted.trf is not None
    assert 11 < fitted.trf[0] < fitted.trf[1]


def _ranks_agree(rank: int, port: int) -> None:
    """One of two processes, each with one image; together they must equal one with both."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    images, targets = scene()
    torch.manual_seed(0)
    names = ("retinanet", "fcos", "atss", "ttfnet")
    detectors = [small_specs()[name].build(2).eval() for name in names]
    alone = [detector.loss(images, targets) for detector in detectors]
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        for detector, expected in zip(detectors, alone, strict=True):
            losses = detector.loss(images[rank : rank + 1], targets[rank : rank + 1])
            for key, value in losses.items():
                total = value.detach().clone()
                dist.all_reduce(total)
                torch.testing.assert_close(total / 2, expected[key].detach(), rtol=1e-4, atol=1e-6)
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one_with_both_images() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_ranks_agree, args=(port,), nprocs=2)  # type: ignore[no-untyped-call]


def test_outputs_are_a_tuple_that_exporters_understand() -> None:
    outputs = HeadOutputs(torch.zeros(1, 1, 1), torch.zeros(1, 1, 4), None, ((1, 1),))
    assert tuple(outputs)[2] is None
