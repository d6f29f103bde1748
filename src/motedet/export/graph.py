"""From a detector to the module that is exported, or a line that says why there is none."""

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from motedet.export import ExportError
from motedet.export.dense import DENSE, DenseGraph, Found
from motedet.export.preparation import Normalised, Preparation
from motedet.export.two_stage import TWO_STAGE, TwoStageGraph
from motedet.models.atrous import ConvAWS2d
from motedet.models.detectors import Detector
from motedet.models.pooling import AnyPool
from motedet.models.ps_roi_align import PSRoIAlign


class ExportGraph(nn.Module):
    """From uint8 pixels to detections: what the exported file holds."""

    def __init__(self, preparation: Preparation, graph: nn.Module, *, half: bool) -> None:
        super().__init__()
        self.normalised = Normalised(preparation)
        self.network = graph
        self._half = half

    def forward(self, images: Tensor, sizes: Tensor) -> Found:
        """Image, box, score and label of all detections of a batch.

        Args:
            images: [B, 3, H, W] uint8 in RGB; what is in the padding does not matter.
            sizes: [B, 2] int64, (height, width) of each image without its padding.
        """
        pixels = self.normalised(images, sizes)
        found: Found = self.network(pixels.half() if self._half else pixels, sizes)
        return found


def graph_of(detector: Detector, preparation: Preparation, *, half: bool = False) -> ExportGraph:
    """The module that is exported.

    Args:
        detector: in evaluation mode, on the CPU.
        preparation: what the file does to the pixels first.
        half: compute the network, but not the boxes, in half precision.

    Raises:
        ExportError: saying what cannot be exported, and what to do instead.
    """
    detector = copy.deepcopy(detector)
    _settle_filters_(detector)
    if half:
        detector = detector.half()
    if isinstance(detector, DENSE):
        graph: nn.Module = DenseGraph(detector)
    elif isinstance(detector, TWO_STAGE):
        _check_pool(detector.spec.pool)
        graph = TwoStageGraph(detector)
    else:
        raise ExportError(f"{type(detector).__name__} cannot be exported to ONNX yet.")
    return ExportGraph(preparation, graph, half=half).eval()


def hardened(detector: Detector) -> Detector:
    """A detector that shares the weights, but drops boxes instead of lowering their scores."""
    hard = copy.copy(detector)
    spec: Any = detector.spec  # every detector has one, of its own type
    hard.spec = replace(spec, postprocess=replace(spec.postprocess, soft=None))
    return hard


def _check_pool(pool: AnyPool) -> None:
    """Raise where the number of points would depend on the regions."""
    if isinstance(pool, PSRoIAlign) and pool.sampling_ratio == 0:
        raise ExportError(
            "model.pool with sampling_ratio 0 reads as many points as the largest region has "
            "cells, which a graph cannot: set sampling_ratio to 2, and evaluate that first."
        )


@torch.no_grad()
def _settle_filters_(detector: nn.Module) -> None:
    """Compute standardised filters once and for all, instead of in every run of the file."""
    for module in detector.modules():
        if isinstance(module, ConvAWS2d):
            module.register_buffer("filters", module.standardised_weight())
            module.standardised_weight = partial(module.get_buffer, "filters")  # type: ignore[method-assign]


def example_inputs(size: tuple[int, int], *, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] uint8 and their sizes [B, 2], to trace with."""
    images = torch.zeros(batch, 3, *size, dtype=torch.uint8)
    return images, torch.tensor([list(size)] * batch)
