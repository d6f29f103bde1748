"""Heads of detectors, one per file, each with the spec that builds it.

Where a detector takes several, they are told apart by `kind`; without one it is its own.
"""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.heads.atss import ATSSHead, ATSSHeadSpec
from motedet.models.heads.autoassign import AutoAssignHead, AutoAssignHeadSpec
from motedet.models.heads.fcos import FCOSHead, FCOSHeadSpec
from motedet.models.heads.retina import RetinaHead, RetinaHeadSpec
from motedet.models.heads.roi import BoxHead, BoxHeadSpec, RoIOutputs
from motedet.models.heads.rpn import RPN, RPNSpec
from motedet.models.heads.slim import SlimHead, SlimHeadSpec
from motedet.models.kinds import kind_or

_Slim = Annotated[SlimHeadSpec, Tag("slim")]
AnyRetinaHead = Annotated[
    Annotated[RetinaHeadSpec, Tag("retina")] | _Slim, Discriminator(kind_or("retina"))
]
AnyFCOSHead = Annotated[
    Annotated[FCOSHeadSpec, Tag("fcos")] | _Slim, Discriminator(kind_or("fcos"))
]
AnyATSSHead = Annotated[
    Annotated[ATSSHeadSpec, Tag("atss")] | _Slim, Discriminator(kind_or("atss"))
]

__all__ = [
    "RPN",
    "ATSSHead",
    "ATSSHeadSpec",
    "AnyATSSHead",
    "AnyFCOSHead",
    "AnyRetinaHead",
    "AutoAssignHead",
    "AutoAssignHeadSpec",
    "BoxHead",
    "BoxHeadSpec",
    "FCOSHead",
    "FCOSHeadSpec",
    "RPNSpec",
    "RetinaHead",
    "RetinaHeadSpec",
    "RoIOutputs",
    "SlimHead",
    "SlimHeadSpec",
]
