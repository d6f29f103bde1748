"""TinyPerson in the folders that were published."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from fake_data import write_image, write_json
from motedet.data import Catalog, prepare_catalog
from motedet.data.datasets import AnyDataset, TinyPerson
from motedet.data.formats import coco_dict
from motedet.errors import DataError
from motedet.metrics import TinyPersonProtocol

PERSON = ({"id": 1, "name": "person"},)
BOTH = ({"id": 1, "name": "sea_person"}, {"id": 2, "name": "earth_person"})
IMAGE = "labeled_images/a.jpg"


def content(
    *, categories: tuple[dict[str, object], ...] = PERSON, corner: bool = False
) -> dict[str, Any]:
    """One file of two persons, one of them doubtful, and a crowd; or its two windows."""
    size = {"width": 40, "height": 48} if corner else {"width": 64, "height": 48}
    image = {"id": 0, "file_name": IMAGE} | size
    images = [image]
    if corner:
        images = [
            image | {"corner": [0, 0, 40, 48]},
            image | {"id": 1, "corner": [24, 0, 64, 48]},
        ]
    flags: tuple[dict[str, bool], ...] = ({}, {"uncertain": True}, {"ignore": True})
    no = {"ignore": False, "uncertain": False, "logo": False, "in_dense_image": False}
    annotations = [
        {
            "id": number,
            "image_id": 0,
            "category_id": 1 + number % len(categories),
            "bbox": [4.0 + 10 * number, 5.0, 6.0 + number, 8.0],
            "area": 48.0,
            "iscrowd": 0,
        }
        | no
        | marks
        for number, marks in enumerate(flags)
    ]
    return {"images": images, "annotations": annotations, "categories": list(categories)}


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    """`tiny_set` as released, with files of every kind."""
    root = tmp_path / "tiny_set"
    for folder in ("train", "test", "erase_with_uncertain_dataset/train"):
        write_image(root / folder / IMAGE)
    for place in ("annotations", "erase_with_uncertain_dataset/annotations"):
        for cut, folder in (("", ""), ("_sw640_sh512", "corner/")):
            both = content(categories=BOTH, corner=bool(cut))
            write_json(root / place / folder / f"tiny_set_train{cut}.json", both)
            for task, categories in (("all", PERSON), ("sea", BOTH[:1]), ("earth", BOTH[1:])):
                one = content(categories=categories, corner=bool(cut))
                for annotation in one["annotations"]:
                    annotation["category_id"] = categories[0]["id"]
                write_json(root / place / folder / f"task/tiny_set_train{cut}_{task}.json", one)
    for cut in ("", "_sw640_sh512"):
        name = f"mini_annotations/tiny_set_train{cut}_all_erase.json"
        write_json(root / name, content(corner=bool(cut)))
    write_json(root / "mini_annotations/tiny_set_test_all.json", content())
    write_json(root / "annotations/tiny_set_test.json", content(categories=BOTH))
    return root


@pytest.mark.parametrize(
    ("dataset", "file", "folder"),
    [
        (
            TinyPerson(),
            "mini_annotations/tiny_set_train_sw640_sh512_all_erase.json",
            "erase_with_uncertain_dataset/train",
        ),
        (
            TinyPerson(train="whole"),
            "mini_annotations/tiny_set_train_all_erase.json",
            "erase_with_uncertain_dataset/train",
        ),
        (
            TinyPerson(erased=False),
            "annotations/corner/task/tiny_set_train_sw640_sh512_all.json",
            "train",
        ),
        (
            TinyPerson(task="sea", train="whole", erased=False),
            "annotations/task/tiny_set_train_sea.json",
            "train",
        ),
        (
            TinyPerson(task="earth"),
            "erase_with_uncertain_dataset/annotations/corner/task/"
            "tiny_set_train_sw640_sh512_earth.json",
            "erase_with_uncertain_dataset/train",
        ),
    ],
    ids=["published", "whole", "not erased", "sea", "earth"],
)
def test_training_files(root: Path, dataset: TinyPerson, file: str, folder: str) -> None:
    for place in (root, root.parent):
        catalog = dataset.catalog(place, "train")
        assert catalog.source == root / file
        assert catalog.records[0].path == root / folder / IMAGE
        assert catalog.classes == dataset.classes
        assert len(catalog) == (2 if dataset.train == "corner" else 1)
        assert catalog.problems == ()


def test_windows_are_parts_of_one_file(root: Path) -> None:
    catalog = TinyPerson().catalog(root, "train")
    assert [r.window.x for r in catalog.records if r.window] == [0, 24]
    assert {r.path for r in catalog.records} == {catalog.records[0].path}


def test_files_of_two_classes_do_where_those_of_the_task_are_missing(root: Path) -> None:
    for file in root.rglob("task/*.json"):
        file.unlink()
    sea = TinyPerson(task="sea", erased=False).catalog(root, "train")
    assert sea.source.name == "tiny_set_train_sw640_sh512.json"
    assert (sea.classes, sea.category_ids) == (("sea_person",), (1,))
    assert sea.records[0].ignore.tolist() == [False, True, True]
    assert set(sea.records[0].labels.tolist()) == {0}
    everyone = TinyPerson(erased=False).catalog(root, "train")
    assert (everyone.classes, everyone.category_ids) == (("person",), (1,))
    assert everyone.records[0].ignore.tolist() == [False, False, True]


def test_scores_are_of_whole_images_with_all_marks(root: Path) -> None:
    catalog = TinyPerson().catalog(root, "val")
    assert catalog.source == root / "mini_annotations/tiny_set_test_all.json"
    assert catalog.records[0].path == root / "test" / IMAGE
    assert catalog.records[0].ignore.tolist() == [False, False, True]
    found = [{"image_id": 0, "category_id": 1, "bbox": [4.0, 5.0, 6.0, 8.0], "score": 0.5}]
    values = TinyPersonProtocol().score(coco_dict(catalog), found).values
    assert values["AP50_tiny"] == pytest.approx(
        1.0
    )  # the uncertain one and the crowd are not missed
    earth = TinyPerson(task="earth").catalog(root, "val")
    assert earth.records[0].ignore.tolist() == [True, False, True]


def test_ignored_annotations_are_dropped_or_regions(root: Path) -> None:
    dropped = prepare_catalog(TinyPerson().catalog(root, "train")).records[0]
    assert len(dropped) == 2
    assert not dropped.crowd.any()
    regions = prepare_catalog(TinyPerson(ignored="regions").catalog(root, "train")).records[0]
    assert regions.crowd.tolist() == [False, False, True]


@pytest.mark.parametrize(("size", "images"), [(None, 2), (6.9, 1), (7.0, 0)])
def test_images_of_small_objects_can_be_left_out(
    root: Path, size: float | None, images: int
) -> None:
    assert len(TinyPerson(min_gt_size=size).catalog(root, "train")) == images


def test_missing_files_are_named(tmp_path: Path, root: Path) -> None:
    for file in root.rglob("*sw640_sh512*"):
        file.unlink()
    with pytest.raises(
        DataError,
        match=r"expected the file mini_annotations/tiny_set_train_sw640_sh512_all_erase.json; "
        r"found in .*tiny_set_train_all_erase.json.*ucas-vg/TinyBenchmark",
    ) as caught:
        TinyPerson().catalog(root, "train")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"nowhere: expected the file mini_annotations/.*test_all"):
        TinyPerson().catalog(tmp_path / "nowhere", "val")
    (root / "test" / IMAGE).unlink()
    (root / "test" / "labeled_images").rmdir()
    (root / "test").rmdir()
    with pytest.raises(DataError, match=r"expected a folder test; found"):
        TinyPerson().catalog(root, "val")


def test_other_classes_are_refused(root: Path) -> None:
    other = content(categories=({"id": 1, "name": "car"}, {"id": 2, "name": "ship"}))
    write_json(root / "mini_annotations/tiny_set_test_all.json", other)
    with pytest.raises(DataError, match=r"expected one class, or .*; found \['car', 'ship'\]"):
        TinyPerson().catalog(root, "val")


def test_it_is_a_data_set_of_recipes(root: Path) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyDataset)
    dataset = adapter.validate_python({"kind": "tinyperson", "task": "sea"})
    assert dataset == TinyPerson(task="sea")
    assert isinstance(dataset.catalog(root, "train"), Catalog)
