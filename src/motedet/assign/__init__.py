"""Which prior learns from which object: one strategy per file, all on sparse pairs."""

from typing import Annotated, Protocol

from pydantic import Field

from motedet.assign.atss import ATSS
from motedet.assign.fcos import FCOSAssigner
from motedet.assign.hierarchical import Hierarchical
from motedet.assign.max_iou import MaxIoU
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import RandomSampler, Sample
from motedet.priors import PriorGrid
from motedet.structures import Assignment, PackedTargets

AnyAssigner = Annotated[
    ATSS | FCOSAssigner | Hierarchical | MaxIoU,
    Field(discriminator="kind"),
]


class Assigner(Protocol):
    """Anything that says for a batch which prior learns from which object."""

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors, the same for every image of the batch.
            targets: G objects of B images, packed; G may be 0.
        """
        ...


__all__ = [
    "ATSS",
    "AnyAssigner",
    "Assigner",
    "BestOverlap",
    "FCOSAssigner",
    "Hierarchical",
    "MaxIoU",
    "RandomSampler",
    "Sample",
]
