"""Backbones, one per file, told apart by `kind`; without one it is timm's features."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.backbones.darknet import DarkNetSpec
from motedet.models.backbones.detectors_resnet import DetectoRSResNet, DetectoRSResNetSpec
from motedet.models.backbones.mit import MiTSpec
from motedet.models.backbones.timm_features import Backbone, BackboneSpec
from motedet.models.backbones.tinydet import TinyDetBackbone, TinyDetBackboneSpec
from motedet.models.kinds import kind_or

__all__ = [
    "AnyBackbone",
    "Backbone",
    "BackboneSpec",
    "DarkNetSpec",
    "DetectoRSResNet",
    "DetectoRSResNetSpec",
    "MiTSpec",
    "PlainBackbone",
    "TinyDetBackbone",
    "TinyDetBackboneSpec",
]

# Those that give the maps of the stages and nothing else.
PlainBackbone = Annotated[
    Annotated[BackboneSpec, Tag("timm")]
    | Annotated[DarkNetSpec, Tag("darknet53")]
    | Annotated[MiTSpec, Tag("mit")]
    | Annotated[TinyDetBackboneSpec, Tag("tinydet")],
    Discriminator(kind_or("timm")),
]

AnyBackbone = Annotated[
    Annotated[BackboneSpec, Tag("timm")]
    | Annotated[DarkNetSpec, Tag("darknet53")]
    | Annotated[MiTSpec, Tag("mit")]
    | Annotated[TinyDetBackboneSpec, Tag("tinydet")]
    | Annotated[DetectoRSResNetSpec, Tag("detectors_resnet")],
    Discriminator(kind_or("timm")),
]
