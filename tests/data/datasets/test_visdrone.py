import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from fake_data import coco_content, write_image, write_json, write_visdrone
from motedet.data import coco_dict, prepare_catalog
from motedet.data.datasets import VISDRONE_CLASSES, AnyDataset, Folder, VisDrone
from motedet.errors import DataError
from motedet.metrics import AITODProtocol, COCOProtocol

CATEGORIES = ["ignored regions", *VISDRONE_CLASSES, "others"]


def _coco(name: str) -> dict[str, list[dict[str, object]]]:
    """A COCO file as converters write it: categories 0 to 11, one object of 4, 0 and 11 each."""
    content = coco_content([name])
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(CATEGORIES)]
    for annotation, category in zip(content["annotations"], (4, 0, 11), strict=True):
        annotation["category_id"] = category
    return content


def test_original_layout(tmp_path: Path) -> None:
    write_visdrone(tmp_path, parts=("train", "val", "test-dev"))
    assert VisDrone().catalog(tmp_path, "train").records[0].path.name == "train_a.jpg"
    assert VisDrone().catalog(tmp_path, "val").records[0].path.name == "val_a.jpg"
    other = VisDrone(val_part="test-dev").catalog(tmp_path, "val")
    assert other.records[0].path.name == "test-dev_a.jpg"
    assert other.classes == VisDrone().classes == VISDRONE_CLASSES
    assert len(set(VISDRONE_CLASSES)) == 10


@pytest.mark.parametrize(
    ("file", "image"),
    [
        ("annotations/VisDrone2019-DET_val_coco.json", "VisDrone2019-DET-val/images/a.jpg"),
        ("annotations/VisDrone2019-DET_val_coco.json", "val/a.jpg"),
        ("annotations/val.json", "images/a.jpg"),
        ("annotations/val.json", "val/images/a.jpg"),
    ],
)
def test_coco_files(tmp_path: Path, file: str, image: str) -> None:
    write_image(tmp_path / image)
    write_json(tmp_path / file, _coco("a.jpg"))
    catalog = VisDrone().catalog(tmp_path, "val")
    record = catalog.records[0]
    assert record.path == tmp_path / image
    assert catalog.classes == VISDRONE_CLASSES
    assert record.crowd.tolist() == record.any_class.tolist() == [False, True, True]
    assert record.labels.tolist() == [3, 0, 0]


def test_coco_file_without_its_images(tmp_path: Path) -> None:
    write_json(tmp_path / "annotations/val.json", _coco("a.jpg"))
    with pytest.raises(DataError, match="its images were not found"):
        VisDrone().catalog(tmp_path, "val")


def test_wrong_root(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"expected the file annotations/VisDrone2019-DET_train_coco.json; found .*nothing.*"
        r"VisDrone2019-DET-train.*github.com/VisDrone",
    ):
        VisDrone().catalog(tmp_path, "train")


def test_folder_and_recipes_know_it(tmp_path: Path) -> None:
    write_visdrone(tmp_path)
    assert len(Folder().catalog(tmp_path, "val")) == 2
    merged = Folder(keep=("car", "van"), merge_into="vehicle").catalog(tmp_path, "val")
    assert merged.records[0].any_class.sum() == 2
    shutil.rmtree(tmp_path / "VisDrone2019-DET-val")
    with pytest.raises(DataError, match="expected VisDrone2019-DET-val"):
        Folder().catalog(tmp_path, "val")
    adapter: TypeAdapter[object] = TypeAdapter(AnyDataset)
    chosen = adapter.validate_python({"kind": "visdrone", "val_part": "test-dev"})
    assert chosen == VisDrone(val_part="test-dev")


@pytest.mark.parametrize(
    "protocol",
    [COCOProtocol(max_dets=(50, 100)), AITODProtocol(max_dets=(50, 100))],  # caps that hold all
    ids=["coco", "aitod"],
)
def test_detections_in_ignored_regions_change_no_score(
    tmp_path: Path, protocol: COCOProtocol | AITODProtocol
) -> None:
    catalog = prepare_catalog(VisDrone().catalog(write_visdrone(tmp_path), "val"))
    truth = coco_dict(catalog)
    image_id = catalog.records[0].image_id

    def found(category: int, box: list[float], score: float) -> dict[str, object]:
        return {"image_id": image_id, "category_id": category, "bbox": box, "score": score}

    right = [found(4, [10, 20, 4, 6], 0.5), found(1, [30, 5, 1, 1], 0.5)]
    excused = [
        found(category, box, 0.9)
        for category in range(1, 11)
        for box in ([2.0, 30.0, 5.0, 5.0], [41.0, 31.0, 3.0, 3.0])
    ]
    excused.append(found(5, [51, 40, 6, 3], 0.9))  # a van, where a van of score 0 is
    wrong = found(4, [51, 40, 6, 3], 0.9)  # a car there is wrong
    alone, more = protocol.score(truth, right), protocol.score(truth, [*right, *excused])
    np.testing.assert_equal(more.values, alone.values)  # nan equals nan
    assert alone.values["AP"] == pytest.approx(1.0)
    assert protocol.score(truth, [*right, wrong]).values["AP"] < 0.9
