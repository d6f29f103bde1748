import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from motedet.engine.outputs import distinct_names, write_coco, write_csv, write_yolo
from motedet.engine.predict import Prediction, find_images
from motedet.errors import DataError
from motedet.structures import Detections

FOUND = Detections(
    torch.tensor([[10.0, 20.0, 14.0, 26.0]]), torch.tensor([0.75]), torch.tensor([1])
)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_sources_are_files_folders_and_patterns_each_once(tmp_path: Path) -> None:
    a, b = picture(tmp_path / "x" / "a.png"), picture(tmp_path / "x" / "deep" / "b.JPG")
    (tmp_path / "x" / "notes.txt").write_text("no picture")
    assert find_images([str(tmp_path / "x")]) == [a, b]
    assert find_images([str(a), str(tmp_path / "x" / "*.png")]) == [a]
    assert find_images([str(tmp_path / "**" / "*.JPG")]) == [b]


def test_patterns_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["*.png"]) == [Path("a.png")]


def test_a_source_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\*\.png: no such file"):
        find_images([str(tmp_path / "none*.png")])
    with pytest.raises(DataError, match=str(tmp_path)):
        find_images([str(tmp_path)])


def test_equal_file_names_stay_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png", tmp_path / "b" / "2.png"]
    names = distinct_names([Prediction(p, (8, 8), Detections.empty()) for p in paths])
    assert len(set(names)) == 3
    assert names[2] == "2"
    assert not any(os.sep in name for name in names)


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    predictions = [
        Prediction(Path("a.png"), (100, 200), FOUND),
        Prediction(Path("broken.png"), (0, 0), Detections.empty(), "unreadable"),
        Prediction(Path("b.png"), (50, 50), Detections.empty()),
    ]
    write_coco(tmp_path, predictions, ["car", "ship"])
    write_yolo(tmp_path, predictions)
    write_csv(tmp_path, predictions, ["car", "ship"])
    import json

    (result,) = json.loads((tmp_path / "detections.json").read_text())
    assert result["bbox"] == pytest.approx([10, 20, 4, 6])
    assert (result["image_id"], result["category_id"]) == (1, 2)
    images = json.loads((tmp_path / "images.json").read_text())["images"]
    assert [i["file_name"] for i in images] == ["a.png", "b.png"]
    assert (
        tmp_path / "labels" / "a.txt"
    ).read_text() == "1 0.060000 0.230000 0.020000 0.060000 0.7500\n"
    assert (tmp_path / "labels" / "b.txt").read_text() == ""
    assert not (tmp_path / "labels" / "broken.txt").exists()
    assert (tmp_path / "detections.csv").read_text().splitlines()[1] == (
        "a.png,ship,0.7500,10.00,20.00,14.00,26.00"
    )
