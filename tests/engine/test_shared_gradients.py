"""Two processes with unequal shares of a batch get the gradient of the whole batch."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from motedet.models.detectors import AnyDetector, CascadeRCNNSpec, Detector, FasterRCNNSpec
from motedet.structures import Targets
from small_detectors import scene, small_specs, small_two_stage

SPECS = small_specs()
SHARES = (slice(0, 2), slice(2, 3))  # three objects and two, and an image without any

Gradients = dict[str, Tensor]


class Training(torch.nn.Module):
    """Makes the loss what is called, which is what data-parallel training wraps."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, targets: list[Targets]) -> Tensor:
        """The sum that trains."""
        return torch.stack(list(self.detector.loss(images, targets).values())).sum()


def training(spec: AnyDetector) -> Training:
    """The detector in float64, in which the order of sums does not decide what is sampled."""
    torch.manual_seed(0)
    detector = spec.build(2).double().train()
    for body in (detector.backbone, detector.neck):
        body.eval()  # statistics of a batch are not those of its parts
    return Training(detector)


def batch() -> tuple[Tensor, list[Targets]]:
    """Three images; the last is noise without objects."""
    (images, targets), (noise, nothing) = scene(), scene(objects=False)
    records = [replace(t, seed=i) for i, t in enumerate([*targets, nothing[0]])]
    return torch.cat((images, noise[:1])).double(), records


def gradients(module: torch.nn.Module) -> Gradients:
    """Of every parameter that learns; fails where there is none."""
    learning = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    missing = [n for n, p in learning if p.grad is None]
    if missing:
        raise RuntimeError(f"no gradient for {missing}")
    return {n.removeprefix("module."): p.grad for n, p in learning if p.grad is not None}


def _one_of_two(rank: int, port: int, folder: Path) -> None:
    """A process: the gradient of its share after averaging, for every detector."""
    torch.set_num_threads(1)
    store = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=len(SHARES))
    images, targets = batch()
    found = {}
    for name in SPECS:
        module = DistributedDataParallel(training(SPECS[name]))
        # without `find_unused_parameters` the second step fails if a parameter had no gradient
        for _ in range(2):
            module.zero_grad()
            module(images[SHARES[rank]], targets[SHARES[rank]]).backward()
        found[name] = gradients(module)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Gradients]]:
    """The gradients that each process ends with, by detector."""
    folder = tmp_path_factory.mktemp("gradients")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_one_of_two, (port, folder), nprocs=len(SHARES))  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(SHARES))]


@pytest.mark.parametrize("name", SPECS)
def test_two_processes_get_the_gradient_of_the_whole_batch(
    name: str, shared: list[dict[str, Gradients]]
) -> None:
    module = training(SPECS[name])
    module(*batch()).backward()
    alone = gradients(module)
    assert sum(float(g.abs().sum()) for g in alone.values()) > 0
    for found in shared:
        torch.testing.assert_close(found[name], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SPECS)
def test_a_batch_without_objects_gives_every_parameter_a_gradient(name: str) -> None:
    module = training(SPECS[name])
    images, targets = batch()
    module(images[SHARES[1]], targets[SHARES[1]]).backward()
    assert all(bool(torch.isfinite(g).all()) for g in gradients(module).values())


@pytest.mark.parametrize("name", small_two_stage())
def test_images_without_objects_and_without_proposals_give_every_parameter_a_gradient(
    name: str,
) -> None:
    spec = SPECS[name]
    assert isinstance(spec, FasterRCNNSpec | CascadeRCNNSpec)
    none = replace(spec.rpn.train_proposals, min_box_size=1e6)
    module = training(replace(spec, rpn=replace(spec.rpn, train_proposals=none)))
    images, targets = batch()
    module(images[SHARES[1]], targets[SHARES[1]]).backward()
    found = gradients(module)
    assert all(bool(torch.isfinite(g).all()) for g in found.values())
    assert all(not g.any() for n, g in found.items() if "roi_head" in n)
