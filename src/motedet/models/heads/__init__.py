"""Heads of detectors, one per file, each with the spec that builds it."""

from motedet.models.heads.atss import ATSSHead, ATSSHeadSpec
from motedet.models.heads.autoassign import AutoAssignHead, AutoAssignHeadSpec
from motedet.models.heads.fcos import FCOSHead, FCOSHeadSpec
from motedet.models.heads.retina import RetinaHead, RetinaHeadSpec
from motedet.models.heads.roi import BoxHead, BoxHeadSpec, RoIOutputs
from motedet.models.heads.rpn import RPN, RPNSpec

__all__ = [
    "RPN",
    "ATSSHead",
    "ATSSHeadSpec",
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
]
