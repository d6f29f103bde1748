"""Heads of dense detectors, one per file, each with the spec that builds it."""

from motedet.models.heads.atss import ATSSHead, ATSSHeadSpec
from motedet.models.heads.fcos import FCOSHead, FCOSHeadSpec
from motedet.models.heads.retina import RetinaHead, RetinaHeadSpec

__all__ = [
    "ATSSHead",
    "ATSSHeadSpec",
    "FCOSHead",
    "FCOSHeadSpec",
    "RetinaHead",
    "RetinaHeadSpec",
]
