"""Which layers get 8 bits, and that the notes stay."""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image

from motedet.export.quantisation import PRECISE, quantised
from motedet.export.runtime import start

LAYERS = 5
NOTES = {
    "format": 1,
    "classes": ["car"],
    "preparation": {"resizing": [], "divisor": 1},
    "size": [16, 16],
}


def _chain() -> ModelProto:
    """Convolutions 3x3 one after the other, each with a ReLU."""
    generator = np.random.default_rng(0)
    nodes = [helper.make_node("Cast", ["images"], ["x0"], to=TensorProto.FLOAT)]
    weights = []
    for i in range(LAYERS):
        values = generator.normal(0, 0.2, (8, 3 if i == 0 else 8, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        inputs, pads = [f"x{i}", f"w{i}"], [1, 1, 1, 1]
        nodes.append(helper.make_node("Conv", inputs, [f"y{i}"], f"conv{i}", pads=pads))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"x{i + 1}"], f"relu{i}"))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, 16, 16])
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, ["batch", 2])
    shape: list[str | int | None] = ["batch", 8, 16, 16]
    result = helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "chain", [images, sizes], [result], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key="motedet", value=json.dumps(NOTES))
    return model


def _pictures(folder: Path) -> list[Path]:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    paths = [folder / f"{i}.png" for i in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


def _run(model: ModelProto) -> NDArray[np.float32]:
    images = np.random.default_rng(2).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    inputs = {"images": images, "sizes": np.array([[16, 16]])}
    result: NDArray[np.float32] = start(model.SerializeToString()).run(None, inputs)[0]
    return result


def test_all_layers_but_the_first_get_8_bits(tmp_path: Path) -> None:
    small = quantised(_chain(), _pictures(tmp_path), tmp_path)
    kinds = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    for i in range(LAYERS):
        assert kinds.get(f"w{i}") == (TensorProto.FLOAT if i < PRECISE else None)
        assert kinds.get(f"w{i}_quantized") == (None if i < PRECISE else TensorProto.INT8)
        if i >= PRECISE:  # per channel
            (scale,) = [t for t in small.graph.initializer if t.name == f"w{i}_scale"]
            assert list(scale.dims) == [8]


def test_a_relu_belongs_to_its_convolution(tmp_path: Path) -> None:
    """Between the two nothing is rounded: the range is that of what is left."""
    small = quantised(_chain(), _pictures(tmp_path), tmp_path)
    rounded = {node.input[0] for node in small.graph.node if node.op_type == "QuantizeLinear"}
    assert not rounded & {f"y{i}" for i in range(LAYERS - 1)}


def test_values_are_close(tmp_path: Path) -> None:
    model = _chain()
    before, after = _run(model), _run(quantised(model, _pictures(tmp_path), tmp_path))
    assert np.abs(before - after).mean() < 0.02 * before.max()


def test_the_notes_stay(tmp_path: Path) -> None:
    small = quantised(_chain(), _pictures(tmp_path), tmp_path)
    (notes,) = [entry for entry in small.metadata_props if entry.key == "motedet"]
    assert json.loads(notes.value) == NOTES
    onnx.checker.check_model(small)
