"""Which prior learns from which object: one strategy per file, all on sparse pairs."""

from typing import Annotated, Protocol

from pydantic import Field

from motedet.assign.atss import ATSS
from motedet.assign.dynamic_soft_label import DynamicSoftLabel
from motedet.assign.fcos import FCOSAssigner
from motedet.assign.gaussian import GaussianAssigner, GaussianMaps
from motedet.assign.hierarchical import Hierarchical
from motedet.assign.max_iou import MaxIoU
from motedet.assign.nwd_rka import NWDRKA
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import Drawn, RandomSampler
from motedet.assign.simd import SimD, fit_simd
from motedet.assign.simota import SimOTA
from motedet.assign.tal import TaskAligned
from motedet.priors import PriorGrid
from motedet.structures import Assignment, PackedTargets

Plain = ATSS | FCOSAssigner | GaussianAssigner | Hierarchical | MaxIoU | NWDRKA | SimD
PredictionAware = DynamicSoftLabel | SimOTA | TaskAligned

PlainAssigner = Annotated[Plain, Field(discriminator="kind")]
AnyAssigner = Annotated[Plain | PredictionAware, Field(discriminator="kind")]


class Assigner(Protocol):
    """Anything that says for a batch which prior learns from which object, from places alone."""

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, the same for every image of the batch.
            targets: G objects of B images, packed; G may be 0.
        """
        ...


__all__ = [
    "ATSS",
    "NWDRKA",
    "AnyAssigner",
    "Assigner",
    "BestOverlap",
    "Drawn",
    "DynamicSoftLabel",
    "FCOSAssigner",
    "GaussianAssigner",
    "GaussianMaps",
    "Hierarchical",
    "MaxIoU",
    "Plain",
    "PlainAssigner",
    "PredictionAware",
    "RandomSampler",
    "SimD",
    "SimOTA",
    "TaskAligned",
    "fit_simd",
]
