from pathlib import Path

import pytest
from pydantic import TypeAdapter

from fake_data import coco_content, write_dota, write_image, write_json
from motedet.data import prepare_catalog
from motedet.data.datasets import DOTA, DOTA_CLASSES, AnyDataset, Folder
from motedet.errors import DataError


def test_eighteen_classes_without_repetition() -> None:
    assert len(set(DOTA_CLASSES)) == len(DOTA_CLASSES) == 18
    assert (DOTA_CLASSES[0], DOTA_CLASSES[-1]) == ("plane", "helipad")
    assert DOTA().classes == DOTA_CLASSES


def test_original_layout(tmp_path: Path) -> None:
    catalog = DOTA().catalog(write_dota(tmp_path), "val")
    record = catalog.records[0]
    assert catalog.classes == DOTA_CLASSES
    assert [DOTA_CLASSES[i] for i in record.labels] == ["ship", "plane", "small-vehicle"]
    assert not record.crowd.any()
    ignoring = DOTA(ignore_difficult=True).catalog(tmp_path, "val")
    assert ignoring.records[0].crowd.tolist() == [False, True, True]


def test_unknown_classes_are_refused(tmp_path: Path) -> None:
    path = write_dota(tmp_path) / "train/labelTxt-v2.0/DOTA-v2.0_train/P1train.txt"
    path.write_text("1 1 2 1 2 2 1 2 submarine 0\n")
    with pytest.raises(
        DataError, match=r"P1train.txt, image 2: .*line 1: class 'submarine' is not"
    ):
        prepare_catalog(DOTA().catalog(tmp_path, "train"))


@pytest.mark.parametrize("image", ["train/a.png", "images/train/a.png", "train/images/a.png"])
def test_tiles_are_preferred(tmp_path: Path, image: str) -> None:
    write_dota(tmp_path)
    write_image(tmp_path / image)
    content = coco_content(["a.png"])
    content["categories"] = [{"id": 7 + i, "name": name} for i, name in enumerate(DOTA_CLASSES)]
    write_json(tmp_path / "annotations/dota_v2.0_train.json", content)
    catalog = DOTA().catalog(tmp_path, "train")
    assert catalog.records[0].path == tmp_path / image
    assert catalog.category_ids == tuple(range(7, 25))
    assert DOTA().catalog(tmp_path, "val").source == tmp_path


def test_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"expected the file annotations/dota_v2.0_val.json; found .*motedet tile",
    ):
        DOTA().catalog(tmp_path, "val")


def test_folder_and_recipes_know_it(tmp_path: Path) -> None:
    assert Folder().catalog(write_dota(tmp_path), "train").num_objects == 3
    adapter: TypeAdapter[object] = TypeAdapter(AnyDataset)
    assert adapter.validate_python({"kind": "dota", "version": "v2"}) == DOTA()
