import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from fake_data import coco_content, write_coco, write_image, write_json, write_voc, write_yolo
from motedet.data.datasets import AnyDataset, Folder
from motedet.errors import DataError


@pytest.mark.parametrize("write", [write_coco, write_yolo, write_voc], ids=["coco", "yolo", "voc"])
def test_every_format_through_one_door(tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path)
    for split in ("train", "val"):
        catalog = Folder().catalog(tmp_path, "train" if split == "train" else "val")
        assert catalog.classes == ("car", "ship")
        assert catalog.num_objects > 0
        assert all(record.path.is_file() for record in catalog.records)


@pytest.mark.parametrize(
    ("json_name", "image_name"),
    [
        ("valid/_annotations.coco.json", "valid/a.png"),
        ("annotations/instances_val2017.json", "val2017/a.png"),
        ("val.json", "images/a.png"),
    ],
)
def test_variants_of_coco_folders(tmp_path: Path, json_name: str, image_name: str) -> None:
    write_image(tmp_path / image_name)
    write_json(tmp_path / json_name, coco_content(["a.png"]))
    assert Folder().catalog(tmp_path, "val").num_objects == 3


def test_ambiguous_files_are_refused(tmp_path: Path) -> None:
    for year in (2014, 2017):
        write_json(tmp_path / f"annotations/instances_val{year}.json", coco_content())
    with pytest.raises(DataError, match=r"several files could be the split 'val'"):
        Folder().catalog(tmp_path, "val")


def test_missing_split_says_what_was_expected(tmp_path: Path) -> None:
    (write_coco(tmp_path) / "annotations" / "val.json").unlink()
    with pytest.raises(
        DataError,
        match=r"no annotations of the split 'val'. Expected annotations/val.json .*found .*"
        r"annotations/train.json. Set aside some images",
    ):
        Folder().catalog(tmp_path, "val")
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        Folder().catalog(tmp_path, "train")


def test_keep_and_merge(tmp_path: Path) -> None:
    write_coco(tmp_path)
    kept = Folder(keep=("ship",)).catalog(tmp_path, "train")
    assert kept.num_objects == 1
    merged = Folder(merge_into="thing").catalog(tmp_path, "train")
    assert (merged.classes, merged.category_ids) == (("thing",), (1,))
    assert merged.records[0].labels.tolist() == [0, 0, 0]
    assert Folder(merge_into="thing").classes == ("thing",)
    assert Folder(keep=("a", "b")).classes == ("a", "b")
    assert Folder().classes is None


def test_recipes_choose_by_kind() -> None:
    adapter: TypeAdapter[object] = TypeAdapter(AnyDataset)
    assert adapter.validate_python({"kind": "folder", "merge_into": "car"}) == Folder(
        merge_into="car"
    )
    with pytest.raises(ValidationError, match="aitod"):
        adapter.validate_python({"kind": "nope"})
