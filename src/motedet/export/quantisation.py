"""Convolutions and linear layers in 8 bits, by ranges that calibration images show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from motedet.export.runtime import Model, read_image

# Whatever decides on boxes stays in float32. A ReLU is named so that the convolution before it gets
# the range of what is left, half as wide.
QUANTISED: Final = ["Conv", "Gemm", "MatMul", "Relu"]
# Convolutions next to the image that stay in float32: they are cheap, and half of what 8 bits cost.
PRECISE: Final = 3


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """The inputs of a model, image by image."""

    def __init__(self, model: Model, paths: Sequence[Path]) -> None:
        self._model = model
        self._paths = iter(paths)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs, None at the end."""
        path = next(self._paths, None)
        return None if path is None else self._model.inputs([read_image(path)])


def quantised(model: Any, images: Sequence[Path], folder: Path) -> Any:  # noqa: ANN401 - no types
    """The model with weights and activations in 8 bits, weights per channel.

    The first convolutions stay in float32.

    Args:
        model: an ONNX model with notes.
        images: image files.
        folder: for files in between.
    """
    import onnx  # noqa: PLC0415 - optional package

    plain, small = folder / "plain.onnx", folder / "small.onnx"
    plain.write_bytes(model.SerializeToString())
    first = [node.name for node in model.graph.node if node.op_type == "Conv"][:PRECISE]
    quantize_static(
        plain,
        small,
        _Images(Model(plain), images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        nodes_to_exclude=first,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    result = onnx.load(small)
    if not any(entry.key == "motedet" for entry in result.metadata_props):
        result.metadata_props.extend(model.metadata_props)
    return result
