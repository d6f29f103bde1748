"""Backbones, one per file, told apart by `kind`; without one it is timm's features."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.backbones.detectors_resnet import DetectoRSResNet, DetectoRSResNetSpec
from motedet.models.backbones.timm_features import Backbone, BackboneSpec
from motedet.models.kinds import kind_or

__all__ = [
    "AnyBackbone",
    "Backbone",
    "BackboneSpec",
    "DetectoRSResNet",
    "DetectoRSResNetSpec",
]

AnyBackbone = Annotated[
    Annotated[BackboneSpec, Tag("timm")] | Annotated[DetectoRSResNetSpec, Tag("detectors_resnet")],
    Discriminator(kind_or("timm")),
]
