"""Backbones, necks, heads, and the detectors composed of them."""

from motedet.models.backbones import Backbone, BackboneSpec
from motedet.models.necks import FPN, FPNSpec
from motedet.models.postprocess import Postprocess

__all__ = ["FPN", "Backbone", "BackboneSpec", "FPNSpec", "Postprocess"]
