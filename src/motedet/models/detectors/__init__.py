"""Detectors, one per file, each with the spec that builds it."""

from typing import Annotated

from pydantic import Field

from motedet.models.dense import Detector, HeadOutputs
from motedet.models.detectors.atss import ATSSDetector, ATSSSpec
from motedet.models.detectors.autoassign import AutoAssign, AutoAssignSpec
from motedet.models.detectors.cascade_rcnn import CascadeRCNN, CascadeRCNNSpec
from motedet.models.detectors.faster_rcnn import FasterRCNN, FasterRCNNSpec, TwoStageOutputs
from motedet.models.detectors.fcos import FCOS, FCOSSpec
from motedet.models.detectors.retinanet import RetinaNet, RetinaNetSpec
from motedet.models.detectors.ttfnet import TTFNet, TTFNetSpec

AnyDetector = Annotated[
    RetinaNetSpec
    | FCOSSpec
    | ATSSSpec
    | AutoAssignSpec
    | TTFNetSpec
    | FasterRCNNSpec
    | CascadeRCNNSpec,
    Field(discriminator="kind"),
]

__all__ = [
    "FCOS",
    "ATSSDetector",
    "ATSSSpec",
    "AnyDetector",
    "AutoAssign",
    "AutoAssignSpec",
    "CascadeRCNN",
    "CascadeRCNNSpec",
    "Detector",
    "FCOSSpec",
    "FasterRCNN",
    "FasterRCNNSpec",
    "HeadOutputs",
    "RetinaNet",
    "RetinaNetSpec",
    "TTFNet",
    "TTFNetSpec",
    "TwoStageOutputs",
]
