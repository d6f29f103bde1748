"""Backbones and necks that two-stage detectors may have, told apart by `kind`.

A body without `kind` is the usual one: timm features and a plain pyramid.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.backbones import BackboneSpec
from motedet.models.detectors_resnet import DetectoRSResNetSpec
from motedet.models.fpn import FPNSpec
from motedet.models.rfp import RFPSpec


def _kind_or(usual: str) -> Callable[[object], str]:
    """The `kind` of a mapping or record, or the usual one."""

    def kind(value: object) -> str:
        if isinstance(value, Mapping):
            return str(value.get("kind", usual))
        return str(getattr(value, "kind", usual))

    return kind


AnyBackbone = Annotated[
    Annotated[BackboneSpec, Tag("timm")] | Annotated[DetectoRSResNetSpec, Tag("detectors_resnet")],
    Discriminator(_kind_or("timm")),
]
AnyNeck = Annotated[
    Annotated[FPNSpec, Tag("fpn")] | Annotated[RFPSpec, Tag("rfp")], Discriminator(_kind_or("fpn"))
]
