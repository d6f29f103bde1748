"""Detectors, one per file, each with the spec that builds it."""

from typing import Annotated

from pydantic import Field

from motedet.models.dense import Detector, HeadOutputs
from motedet.models.detectors.atss import ATSSDetector, ATSSSpec
from motedet.models.detectors.fcos import FCOS, FCOSSpec
from motedet.models.detectors.retinanet import RetinaNet, RetinaNetSpec

AnyDetector = Annotated[RetinaNetSpec | FCOSSpec | ATSSSpec, Field(discriminator="kind")]

__all__ = [
    "FCOS",
    "ATSSDetector",
    "ATSSSpec",
    "AnyDetector",
    "Detector",
    "FCOSSpec",
    "HeadOutputs",
    "RetinaNet",
    "RetinaNetSpec",
]
