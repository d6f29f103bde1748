from pathlib import Path

import pytest

from fake_data import coco_content, write_image, write_json
from motedet.data.datasets import COCO_CLASSES, COCODataset
from motedet.errors import DataError


def test_reads_both_splits(tmp_path: Path) -> None:
    content = coco_content(["a.jpg"])
    content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(COCO_CLASSES)]
    for split in ("train", "val"):
        write_image(tmp_path / f"{split}2017" / "a.jpg")
        write_json(tmp_path / f"annotations/instances_{split}2017.json", content)
    for split in ("train", "val"):
        catalog = COCODataset().catalog(tmp_path, "train" if split == "train" else "val")
        assert catalog.classes == COCO_CLASSES
        assert catalog.records[0].path.parent.name == f"{split}2017"


def test_eighty_classes_without_repetition() -> None:
    assert len(set(COCO_CLASSES)) == len(COCO_CLASSES) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[-1]) == ("person", "toothbrush")


def test_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the file annotations/instances_val2017.json"):
        COCODataset().catalog(tmp_path, "val")
    with pytest.raises(DataError, match=r"expected the file annotations/instances_val2017.json"):
        COCODataset().catalog(tmp_path / "nowhere", "val")


def test_both_parts_can_be_trained_on(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        content = coco_content(["a.jpg"])
        content["categories"] = [{"id": 7 + i, "name": n} for i, n in enumerate(COCO_CLASSES)]
        content["images"][0]["id"] = 10 + number
        for annotation in content["annotations"]:
            annotation["image_id"] = 10 + number
        write_image(tmp_path / f"{split}2017" / "a.jpg")
        write_json(tmp_path / f"annotations/instances_{split}2017.json", content)
    both = COCODataset(train_part="trainval")
    records = both.catalog(tmp_path, "train").records
    assert [record.path.parent.name for record in records] == ["train2017", "val2017"]
    assert len(both.catalog(tmp_path, "val")) == 1
    path = tmp_path / "annotations/instances_val2017.json"
    path.write_text((tmp_path / "annotations/instances_train2017.json").read_text())
    with pytest.raises(DataError, match=r"image id 10 is also in instances_train2017.json"):
        both.catalog(tmp_path, "train")
