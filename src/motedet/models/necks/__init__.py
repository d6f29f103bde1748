"""Necks, one per file, told apart by `kind`; without one it is a feature pyramid."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.kinds import kind_or
from motedet.models.necks.fpn import FPN, FPNSpec
from motedet.models.necks.rfp import RFP, RFPSpec

__all__ = ["FPN", "RFP", "AnyNeck", "FPNSpec", "RFPSpec"]

AnyNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")] | Annotated[RFPSpec, Tag("rfp")], Discriminator(kind_or("fpn"))
]
