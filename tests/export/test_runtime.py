"""The runner reads, resizes and writes as the library does, and needs neither torch nor motedet."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from PIL import Image

from motedet.data import Sample, read_image
from motedet.data.transforms import Compose, Normalise, Resize, ResizeKeepRatio, Scale
from motedet.engine.outputs import distinct_names, write_coco, write_csv, write_yolo
from motedet.engine.predict import Prediction
from motedet.export import runtime
from motedet.export.preparation import Preparation
from motedet.structures import Detections

FORBID = """
import runpy, sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "motedet"}:
            raise ImportError(f"{name} is forbidden here")

sys.meta_path.insert(0, Forbidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NOTES = {
    "format": 1,
    "version": "0",
    "classes": ["car", "ship"],
    "preparation": {"resizing": [{"kind": "scale", "factor": 2.0}], "divisor": 32},
    "size": [64, 96],
    "precision": "float32",
    "recipe": {},
}


def fake_model(**notes: object) -> ModelProto:
    """Two boxes in the first image of every batch, whatever it shows."""
    tensors: dict[str, tuple[int, list[int], list[Any]]] = {
        "image": (TensorProto.INT64, [2], [0, 0]),
        "boxes": (TensorProto.FLOAT, [2, 4], [2.0, 4, 12, 14, 20, 20, 28, 30]),
        "scores": (TensorProto.FLOAT, [2], [0.9, 0.2]),
        "labels": (TensorProto.INT64, [2], [1, 0]),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=helper.make_tensor(name, *value))
        for name, value in tensors.items()
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, "h", "w"]),
        helper.make_tensor_value_info("sizes", TensorProto.INT64, ["batch", 2]),
    ]
    outputs = [helper.make_tensor_value_info(n, v[0], v[1]) for n, v in tensors.items()]
    graph = helper.make_graph(nodes, "fake", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key="motedet", value=json.dumps(NOTES | notes))
    return model


def write_model(path: Path, **notes: object) -> Path:
    path.write_bytes(fake_model(**notes).SerializeToString())
    return path


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    "transform",
    [
        Resize(size=(50, 40)),
        Resize(size=(90, 130)),
        ResizeKeepRatio(short=50, long=70),
        Scale(factor=2.0),
        Scale(factor=0.37),
    ],
)
def test_images_are_resized_as_by_torchvision(
    transform: Resize | ResizeKeepRatio | Scale, tmp_path: Path
) -> None:
    path = picture(tmp_path / "a.png", (101, 67))
    steps = Preparation.of([transform, Normalise()]).as_dict()["resizing"]
    mine = runtime.resized(runtime.read_image(path), steps)
    sample = Compose([transform])(Sample.of_image(read_image(path)), torch.Generator())
    theirs = sample.image.permute(1, 2, 0).numpy()
    assert mine.shape == theirs.shape
    assert runtime.resized_size((67, 101), steps) == theirs.shape[:2]
    assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "I;16", "F"])
def test_images_are_read_as_by_the_library(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in {"F", "CMYK"} else "a.png")
    values = np.random.default_rng(0).integers(0, 4000, (9, 7))
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(values.astype(np.float32))
    else:
        image = Image.fromarray((values % 256).astype(np.uint8)).convert(mode)
    image.save(path)
    assert np.array_equal(runtime.read_image(path), read_image(path).permute(1, 2, 0).numpy())


def test_boxes_are_in_pixels_of_the_file(tmp_path: Path) -> None:
    model = runtime.Model(write_model(tmp_path / "m.onnx"))
    (found,) = model.predict_files([picture(tmp_path / "a.png")])
    assert found.size == (30, 40)
    assert found.boxes.tolist() == [[1, 2, 6, 7], [10, 10, 14, 15]]
    assert len(found.above(0.5).scores) == 1


def test_a_batch_of_any_size_and_unreadable_files(tmp_path: Path) -> None:
    model = runtime.Model(write_model(tmp_path / "m.onnx", size=None))
    (tmp_path / "broken.png").write_text("no image")
    paths = [tmp_path / "broken.png", picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    found = list(model.predict_files(paths, batch_size=3))
    assert [len(f.scores) for f in found] == [0, 2, 0]
    assert "broken.png" in str(found[0].error)
    inputs = model.inputs([runtime.read_image(p) for p in paths[1:]])
    assert inputs["images"].shape == (2, 3, 64, 96)
    assert inputs["sizes"].tolist() == [[60, 80], [60, 80]]
    assert model.predict([]) == []


def test_an_image_that_does_not_fit_is_reported(tmp_path: Path) -> None:
    model = runtime.Model(write_model(tmp_path / "m.onnx"))
    (found,) = model.predict_files([picture(tmp_path / "a.png", (60, 20))])
    assert "--dynamic" in str(found.error)
    with pytest.raises(runtime.ModelFileError, match="does not fit"):
        model.predict([np.zeros((20, 60, 3), np.uint8)])


def test_files_that_are_no_model_of_ours_are_named(tmp_path: Path) -> None:
    with pytest.raises(runtime.ModelFileError, match="no such file"):
        runtime.Model(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(runtime.ModelFileError, match="cannot load"):
        runtime.Model(tmp_path / "text.onnx")
    with pytest.raises(runtime.ModelFileError, match="format 2"):
        runtime.Model(write_model(tmp_path / "new.onnx", format=2))
    model = fake_model()
    del model.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(runtime.ModelFileError, match="motedet export"):
        runtime.Model(tmp_path / "bare.onnx")
    with pytest.raises(runtime.ModelFileError, match="unknown step"):
        runtime.resized_size((3, 3), [{"kind": "twist"}])


def test_results_are_written_as_by_the_library(tmp_path: Path) -> None:
    boxes = np.array([[10, 20, 14, 26], [1.25, 2.5, 3.125, 4]], np.float32)
    scores, labels = np.array([0.75, 0.5], np.float32), np.array([1, 0])
    names = ["x/a.png", "y/a.png", "b.png"]
    empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    found = [
        runtime.Found(Path(names[0]), (100, 200), boxes, scores, labels),
        runtime.Found(Path(names[1]), (0, 0), *empty, error="unreadable"),
        runtime.Found(Path(names[2]), (50, 50), *empty),
    ]
    theirs = [
        Prediction(
            f.path,
            f.size,
            Detections(*(torch.from_numpy(v) for v in (f.boxes, f.scores, f.labels))),
            f.error,
        )
        for f in found
    ]
    classes = ("car", "ship")
    runtime.write_results(tmp_path / "mine", found, classes)
    write_coco(tmp_path / "theirs", theirs, classes)
    write_yolo(tmp_path / "theirs", theirs)
    write_csv(tmp_path / "theirs", theirs, classes)
    assert runtime.distinct_names([f.path for f in found]) == distinct_names(theirs)
    files = sorted(p.relative_to(tmp_path / "theirs") for p in (tmp_path / "theirs").rglob("*.*"))
    assert files == sorted(
        p.relative_to(tmp_path / "mine") for p in (tmp_path / "mine").rglob("*.*")
    )
    for file in files:
        mine, other = (tmp_path / side / file for side in ("mine", "theirs"))
        if file.name == "detections.json":
            assert json.loads(mine.read_text()) == json.loads(other.read_text())
        else:
            assert mine.read_text() == other.read_text()


def test_tiny_and_inverted_boxes_can_be_drawn(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    boxes = np.array([[5, 5, 5, 5], [0, 0, 0.2, 0.2], [-3, 2, 80, 90]], np.float32)
    found = runtime.Found(path, (30, 40), boxes, np.ones(3, np.float32), np.arange(3))
    assert runtime.draw(found, tmp_path / "drawn" / "a.png")
    with Image.open(tmp_path / "drawn" / "a.png") as drawn:
        assert drawn.size == (40, 30)


def test_sources(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "deep" / "b.PNG")
    assert runtime.find_images([str(tmp_path)]) == [a, b]
    assert runtime.find_images([str(a), str(tmp_path / "*.png")]) == [a]
    with pytest.raises(runtime.ModelFileError, match="none"):
        runtime.find_images([str(tmp_path / "none*")])


def test_the_runner_is_one_file_that_needs_neither_torch_nor_motedet(tmp_path: Path) -> None:
    script = tmp_path / "run_model.py"
    script.write_text(Path(runtime.__file__).read_text())
    words: list[object] = [script, write_model(tmp_path / "m.onnx"), picture(tmp_path / "a.png")]
    words += ["-o", tmp_path / "out", "--draw"]
    done = subprocess.run(
        [sys.executable, "-c", FORBID, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 detections in 1 images")
    (result,) = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert result["bbox"] == [1, 2, 5, 5]
    assert (tmp_path / "out" / "drawings" / "a.png").is_file()


def test_motedet_predict_runs_a_file_without_torch(tmp_path: Path) -> None:
    words: list[object] = ["predict", write_model(tmp_path / "m.onnx"), picture(tmp_path / "a.png")]
    words += ["-o", tmp_path / "out"]
    code = "import sys; from motedet.cli import app; app(sys.argv[1:], standalone_mode=False); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 detections in 1 images")
    assert (tmp_path / "out" / "labels" / "a.txt").is_file()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--tile", "64"], "--tile"),
        (["--device", "cuda"], "--device cuda"),
        (["--format", "pdf"], "pdf"),
    ],
)
def test_what_a_file_cannot_do_is_said(tmp_path: Path, extra: list[str], message: str) -> None:
    words: list[object] = ["predict", write_model(tmp_path / "m.onnx"), picture(tmp_path / "a.png")]
    words += ["-o", tmp_path / "out", *extra]
    done = subprocess.run(
        [sys.executable, "-m", "motedet", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
