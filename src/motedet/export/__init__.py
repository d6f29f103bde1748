"""Detectors as ONNX files, and running such files without torch.

Import from the modules: `onnx_file` needs torch and the packages of `motedet[onnx]`, `runtime` only
numpy, Pillow and onnxruntime.
"""

from motedet.errors import MotedetError

__all__ = ["ExportError"]


class ExportError(MotedetError, RuntimeError):
    """A detector cannot be exported, or the exported file does not do what the detector does."""
