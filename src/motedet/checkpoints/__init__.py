"""Weights on disk: our own files, and published ones of other projects."""

from motedet.checkpoints.mmdet import read_mmdet, rename_mmdet
from motedet.checkpoints.weights import WeightsFile, load_state, read_weights, save_weights

__all__ = [
    "WeightsFile",
    "load_state",
    "read_mmdet",
    "read_weights",
    "rename_mmdet",
    "save_weights",
]
