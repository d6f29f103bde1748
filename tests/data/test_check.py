import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_data import (
    coco_content,
    write_coco,
    write_dota,
    write_image,
    write_json,
    write_visdrone,
    write_voc,
    write_yolo,
)
from motedet.data.check import check_dataset, size_bins
from motedet.errors import DataError


@pytest.mark.parametrize("write", [write_coco, write_yolo, write_voc], ids=["coco", "yolo", "voc"])
def test_sound_folders_have_no_fatal_problems(tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path)
    report = check_dataset(tmp_path, decode=True)
    assert report.fatal == ()
    assert [split.name for split in report.splits] == ["train", "val"]
    assert report.num_images == len(report.objects_per_image)
    assert report.num_objects == int(report.objects_per_image.sum())
    assert set(report.class_counts) == {"car", "ship"}


def test_numbers_of_a_sound_folder(tmp_path: Path) -> None:
    report = check_dataset(write_coco(tmp_path))
    assert (report.num_images, report.num_objects) == (4, 6)
    assert report.class_counts == {"car": 4, "ship": 2}
    np.testing.assert_allclose(np.unique(report.sizes), [1, 24**0.5, 28**0.5])
    assert report.bins == {"under 2": 2, "very tiny": 4, "tiny": 0, "small": 0, "medium": 0}
    assert report.counts == {"image without objects": 2}


def test_bins_exclude_their_end() -> None:
    bins = size_bins(np.array([1.9, 2, 7.9, 8, 15.9, 16, 31.9, 32, 500]))
    assert bins == {"under 2": 1, "very tiny": 2, "tiny": 2, "small": 2, "medium": 2}


def test_every_problem_of_images(tmp_path: Path) -> None:
    write_coco(tmp_path)
    names = ["train_a.png", "gone.png", "cut.png", "text.png", "turned.png", "other.png"]
    write_json(tmp_path / "annotations" / "train.json", coco_content(names))
    images = tmp_path / "images"
    write_image(images / "cut.png", size=(48, 64))
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:1000])
    (images / "text.png").write_text("no image")
    write_image(images / "turned.png", size=(64, 48))
    write_image(images / "other.png", size=(10, 10))
    report = check_dataset(tmp_path)
    fatal = {(p.kind, p.file.name, p.image_id) for p in report.fatal}
    assert fatal == {
        ("missing image", "gone.png", 11),
        ("unreadable image", "cut.png", 12),
        ("unreadable image", "text.png", 13),
        ("size mismatch", "turned.png", 14),
        ("size mismatch", "other.png", 15),
    }
    assert any("apply the orientation tag" in p.message for p in report.fatal)
    assert report.problems[: len(report.fatal)] == report.fatal


def test_damage_in_the_middle_is_found_by_decoding(tmp_path: Path) -> None:
    path = write_coco(tmp_path) / "images" / "train_a.png"
    content = bytearray(path.read_bytes())
    content[500:600] = bytes(100)
    path.write_bytes(content)
    assert [p.kind for p in check_dataset(tmp_path, decode=True).fatal] == ["unreadable image"]


def test_problems_of_boxes_name_their_annotation(tmp_path: Path) -> None:
    write_coco(tmp_path)
    content = coco_content(["train_a.png", "train_b.png"])
    boxes = [[5, 5, 0, 3], [5, 5, -2, 3], [70, 5, 3, 3]]
    for annotation, box in zip(content["annotations"], boxes, strict=True):
        annotation["bbox"] = box
    write_json(tmp_path / "annotations" / "train.json", content)
    report = check_dataset(tmp_path)
    found = {(p.severity, p.kind, p.annotation_id) for p in report.problems if p.annotation_id}
    assert found == {
        ("tolerated", "zero-size box", 100),
        ("fatal", "negative box", 101),
        ("tolerated", "box outside image", 102),
    }


def test_not_a_number_is_fatal(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    content["annotations"][0]["bbox"] = [float("nan"), 1, 2, 3]
    report = check_dataset(write_json(tmp_path / "x.json", content))
    assert [(p.kind, p.annotation_id) for p in report.fatal] == [("box not finite", 100)]


def test_problems_of_the_split(tmp_path: Path) -> None:
    write_coco(tmp_path)
    content = coco_content(["train_a.png", "val_a.png", "train_a.png"])
    content["annotations"] = [content["annotations"][0], content["annotations"][0] | {"id": 5}]
    write_json(tmp_path / "annotations" / "train.json", content)
    counts = check_dataset(tmp_path).counts
    assert counts["image listed twice"] == 1
    assert counts["image in two splits"] == 1
    assert counts["repeated box"] == 1
    assert counts["class without objects"] == 1


def test_no_objects_is_fatal(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"]) | {"annotations": []}
    report = check_dataset(write_json(tmp_path / "x.json", content))
    assert [p.kind for p in report.fatal] == ["no objects"]
    assert report.sizes.shape == (0,)


def test_broken_annotation_file_is_a_problem_of_its_split(tmp_path: Path) -> None:
    (write_coco(tmp_path) / "annotations" / "val.json").write_text('{"images": [}')
    report = check_dataset(tmp_path)
    assert [(p.kind, p.file.name) for p in report.fatal] == [("unreadable annotations", "val.json")]
    assert report.fatal[0].message.startswith("line 1, column 13: not valid JSON")
    assert report.num_images == 2


def test_other_names_in_the_annotations_folder(tmp_path: Path) -> None:
    write_coco(tmp_path)
    for split, part in (("train", "trainval"), ("val", "test")):
        source = tmp_path / "annotations" / f"{split}.json"
        shutil.move(source, tmp_path / "annotations" / f"small_{part}_v1_1.0.json")
    names = [split.name for split in check_dataset(tmp_path).splits]
    assert names == ["small_test_v1_1.0", "small_trainval_v1_1.0"]


def test_voc_without_splits(tmp_path: Path) -> None:
    shutil.rmtree(write_voc(tmp_path) / "ImageSets")
    assert [split.name for split in check_dataset(tmp_path).splits] == ["all"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotations found"):
        check_dataset(tmp_path)


def test_visdrone_folders_and_single_parts(tmp_path: Path) -> None:
    report = check_dataset(write_visdrone(tmp_path), decode=True)
    assert [split.name for split in report.splits] == ["train", "val"]
    assert report.fatal == ()
    assert (report.num_images, report.num_objects) == (4, 10)
    assert {name: n for name, n in report.class_counts.items() if n} == {
        "pedestrian": 2,
        "car": 2,
        "van": 2,
    }
    part = check_dataset(tmp_path / "VisDrone2019-DET-val")
    assert [split.name for split in part.splits] == ["all"]
    shutil.rmtree(tmp_path / "VisDrone2019-DET-val")
    assert [split.name for split in check_dataset(tmp_path).splits] == ["train"]


def test_dota_folders(tmp_path: Path) -> None:
    report = check_dataset(write_dota(tmp_path))
    assert [split.name for split in report.splits] == ["train", "val"]
    assert report.fatal == ()
    assert report.class_counts == {"plane": 2, "ship": 2, "small-vehicle": 2}
    text = tmp_path / "val" / "labelTxt-v2.0" / "DOTA-v2.0_val" / "P0val.txt"
    text.write_text("oops\n")
    assert [(p.kind, p.file) for p in check_dataset(tmp_path).fatal] == [
        ("bad entry", text),
        ("no objects", tmp_path),
    ]


def test_images_beyond_the_limit_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dota(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert check_dataset(tmp_path, decode=True).fatal == ()


def test_parts_of_one_file_are_looked_at_once_and_must_fit(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png", "a.png", "a.png"])
    for image, corner in zip(
        content["images"], ([0, 0, 40, 40], [24, 8, 64, 48], [25, 8, 65, 48]), strict=True
    ):
        image |= {"corner": corner, "width": 40, "height": 40}
    report = check_dataset(write_json(tmp_path / "x.json", content))
    assert [(p.kind, p.image_id) for p in report.fatal] == [("size mismatch", 12)]
    assert "64 x 48 px, but annotated as its part [25, 8, 65, 48]" in str(report.fatal[0])
    assert "image listed twice" not in report.counts
