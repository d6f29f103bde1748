"""Necks, one per file, told apart by `kind`; without one it is a feature pyramid."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.kinds import kind_or
from motedet.models.necks.fpn import FPN, FPNSpec
from motedet.models.necks.fuse import FuseNeck, FuseNeckSpec
from motedet.models.necks.rfp import RFP, RFPSpec
from motedet.models.necks.tiny_fpn import TinyFPN, TinyFPNSpec
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
    "TinyFPN",
    "TinyFPNSpec",
    "UpsamplingNeck",
    "UpsamplingNeckSpec",
]

# The pyramids. A recursive one needs a backbone of its own, which a cascade can have.
AnyNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")]
    | Annotated[RFPSpec, Tag("rfp")]
    | Annotated[TinyFPNSpec, Tag("tiny_fpn")],
    Discriminator(kind_or("fpn")),
]

# Those that read nothing but the maps of a backbone.
PlainNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")]
    | Annotated[UpsamplingNeckSpec, Tag("upsample")]
    | Annotated[FuseNeckSpec, Tag("fuse")]
    | Annotated[TinyFPNSpec, Tag("tiny_fpn")],
    Discriminator(kind_or("fpn")),
]
