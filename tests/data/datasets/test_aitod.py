from pathlib import Path
from typing import Literal

import pytest

from fake_data import coco_content, write_image, write_json
from motedet.data.datasets import AITOD, AITOD_CLASSES
from motedet.errors import DataError


@pytest.mark.parametrize(("version", "suffix"), [("v1", "v1_1.0"), ("v2", "v2_2.0")])
def test_train_is_trainval_and_val_is_test(
    tmp_path: Path, version: Literal["v1", "v2"], suffix: str
) -> None:
    content = coco_content(["a.png"])
    content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(AITOD_CLASSES)]
    for part in ("trainval", "test"):
        write_image(tmp_path / part / "a.png")
        write_json(tmp_path / f"annotations/small_{part}_{suffix}.json", content)
    dataset = AITOD(version=version)
    assert dataset.catalog(tmp_path, "train").records[0].path == tmp_path / "trainval" / "a.png"
    val = dataset.catalog(tmp_path, "val")
    assert val.source.name == f"small_test_{suffix}.json"
    assert val.classes == dataset.classes
    assert len(val.classes) == 8


def test_wrong_root_says_what_is_missing_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "other.json").write_text("{}")
    with pytest.raises(
        DataError,
        match=r"expected the file annotations/small_trainval_v1_1.0.json; found in .*other.json"
        r".*github.com/jwwangchn/AI-TOD",
    ):
        AITOD().catalog(tmp_path, "train")
    write_json(tmp_path / "annotations/small_test_v1_1.0.json", coco_content())
    with pytest.raises(DataError, match=r"expected a folder test or images/test or images"):
        AITOD().catalog(tmp_path, "val")


@pytest.mark.parametrize(
    ("dataset", "train", "val"),
    [
        (AITOD(), "aitod_training_v1", "aitod_validation_v1"),
        (AITOD(), "aitod_trainval_v1", "aitod_test_v1"),
        (AITOD(version="v2"), "aitodv2_trainval", "aitodv2_test"),
        (
            AITOD(version="v2", train_part="train", val_part="val"),
            "small_train_v2_1.0",
            "small_val_v2_1.0",
        ),
    ],
    ids=["v1 of NWD", "v1 of the toolkit", "v2 as released", "v2 train and val"],
)
def test_other_names_in_use(tmp_path: Path, dataset: AITOD, train: str, val: str) -> None:
    content = coco_content(["a.png"])
    content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(AITOD_CLASSES)]
    for part in ("trainval", "test"):
        write_image(tmp_path / part / "a.png")
    for name in (train, val):
        write_json(tmp_path / f"annotations/{name}.json", content)
    assert dataset.catalog(tmp_path, "train").source.stem == train
    assert dataset.catalog(tmp_path, "val").source.stem == val
    assert dataset.catalog(tmp_path, "val").records[0].path.is_file()


def test_published_names_come_first(tmp_path: Path) -> None:
    content = coco_content(["a.png"])
    content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(AITOD_CLASSES)]
    write_image(tmp_path / "images" / "a.png")
    for name in ("aitod_validation_v1", "aitod_test_v1", "small_test_v1_1.0"):
        write_json(tmp_path / f"annotations/{name}.json", content)
    assert AITOD().catalog(tmp_path, "val").source.stem == "small_test_v1_1.0"
