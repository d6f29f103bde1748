"""Necks, one per file, told apart by `kind`; without one it is a feature pyramid."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.kinds import kind_or
from motedet.models.necks.fpn import FPN, FPNSpec
from motedet.models.necks.fuse import FuseNeck, FuseNeckSpec
from motedet.models.necks.rfp import RFP, RFPSpec
from motedet.models.necks.upsample import UpsamplingNeck, UpsamplingNeckSpec

__all__ = [
    "FPN",
    "RFP",
    "AnyNeck",
    "FPNSpec",
    "FuseNeck",
    "FuseNeckSpec",
    "PlainNeck",
    "RFPSpec",
    "UpsamplingNeck",
    "UpsamplingNeckSpec",
]

# Those that detectors of two stages can use: a recursive one needs its own backbone, and a region
# finds its level in a pyramid.
AnyNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")] | Annotated[RFPSpec, Tag("rfp")], Discriminator(kind_or("fpn"))
]

# Those that read nothing but the maps of a backbone, for dense detectors.
PlainNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")]
    | Annotated[UpsamplingNeckSpec, Tag("upsample")]
    | Annotated[FuseNeckSpec, Tag("fuse")],
    Discriminator(kind_or("fpn")),
]
