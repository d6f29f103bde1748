"""From a detector to the module that is exported, or a line that says why there is none."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from motedet.export import ExportError
from motedet.export.dense import DENSE, DenseGraph, Found
from motedet.export.preparation import Normalised, Preparation
from motedet.export.two_stage import TWO_STAGE, TwoStageGraph
from motedet.models.detectors import Detector


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
    if half:
        detector = copy.deepcopy(detector).half()
    if isinstance(detector, DENSE):
        _refuse_soft(detector.spec.postprocess.soft)
        graph: nn.Module = DenseGraph(detector)
    elif isinstance(detector, TWO_STAGE):
        _refuse_soft(detector.spec.postprocess.soft)
        if detector.spec.rpn.test_proposals.similarity != "iou":
            raise ExportError(
                "ONNX has no suppression by NWD: set model.rpn.test_proposals.similarity=iou with "
                "an nms_iou for it (such as 0.7), and evaluate that first."
            )
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


def _refuse_soft(soft: object) -> None:
    """Raise where scores would have to be lowered one by one."""
    if soft is not None:
        raise ExportError(
            "ONNX has no soft-NMS: export with --hard-nms, which drops boxes above nms_iou "
            "instead, and evaluate the file."
        )


def example_inputs(size: tuple[int, int], *, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] uint8 and their sizes [B, 2], to trace with."""
    images = torch.zeros(batch, 3, *size, dtype=torch.uint8)
    return images, torch.tensor([list(size)] * batch)
