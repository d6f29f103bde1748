"""Where predictions may sit: anchors, points and receptive fields on regular grids."""

from typing import Annotated

from pydantic import Field

from motedet.priors.anchors import Anchors
from motedet.priors.grid import Lattices, Level, PriorGrid
from motedet.priors.points import Points
from motedet.priors.receptive_fields import (
    R50_REFERENCE,
    ReceptiveFields,
    convolution_chain,
    network_receptive_fields,
    theoretical_receptive_fields,
)
from motedet.priors.rounded_anchors import RoundedAnchors

AnyPriors = Annotated[
    Anchors | Points | ReceptiveFields | RoundedAnchors, Field(discriminator="kind")
]

__all__ = [
    "R50_REFERENCE",
    "Anchors",
    "AnyPriors",
    "Lattices",
    "Level",
    "Points",
    "PriorGrid",
    "ReceptiveFields",
    "RoundedAnchors",
    "convolution_chain",
    "network_receptive_fields",
    "theoretical_receptive_fields",
]
