"""Doubtful regions painted over."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_data import write_image, write_json
from motedet.data import DetectionDataset, TinyPerson, read_image
from motedet.data.erase import doubtful, erase_folder, paint_regions
from motedet.errors import DataError

DOUBTFUL = [10.0, 8.0, 6.5, 4.0]  # xywh; pixels 10 to 16, 8 to 11


def test_nothing_to_paint() -> None:
    image = torch.randint(0, 256, (3, 8, 9), dtype=torch.uint8)
    painted = paint_regions(image, np.zeros((0, 4)))
    assert torch.equal(painted, image)
    painted[:] = 0
    assert bool(image.any())


def test_a_region_gets_its_mean_colour() -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, 2, 2] = torch.tensor([90, 45, 9])
    painted = paint_regions(image, np.array([[1.5, 2.0, 3.5, 4.5]]))  # 3 x 3 pixels
    colour = torch.tensor([10, 5, 1], dtype=torch.uint8)
    assert bool((painted[:, 2:5, 1:4] == colour[:, None, None]).all())
    painted[:, 2:5, 1:4] = 0
    assert not painted.any()


def test_regions_that_overlap_have_the_means_of_the_image() -> None:
    image = torch.arange(8, dtype=torch.uint8).repeat(3, 1, 1) * 10  # [3, 1, 8]
    painted = paint_regions(image, np.array([[0.0, 0, 4, 1], [2.0, 0, 6, 1]]))
    assert painted[0, 0].tolist() == [15, 15, 35, 35, 35, 35, 60, 70]


def test_regions_out_of_the_image() -> None:
    image = torch.arange(8, dtype=torch.uint8).repeat(3, 1, 1)
    outside = np.array([[-5.0, -5, 2, 3], [20.0, 0, 30, 5], [3.0, 0, 3, 1]])
    assert paint_regions(image, outside)[0, 0].tolist() == [0, 0, 2, 3, 4, 5, 6, 7]


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    """`tiny_set` with a doubtful region, and another image without one."""
    root = tmp_path / "tiny_set"
    names = ["labeled_images/a.png", "pure_bg_images/b.jpg"]
    for part in ("train", "test"):
        for name in names:
            write_image(root / part / name)
        whole = [
            {"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(names)
        ]
        annotations = [
            {"id": 0, "image_id": 0, "category_id": 1, "bbox": [30, 5, 5, 5], "uncertain": False},
            {"id": 1, "image_id": 0, "category_id": 2, "bbox": DOUBTFUL, "uncertain": True},
        ]
        categories = [{"id": 1, "name": "sea_person"}, {"id": 2, "name": "earth_person"}]
        file = {"images": whole, "annotations": annotations, "categories": categories}
        write_json(root / f"annotations/tiny_set_{part}.json", file)
        corners = [{**whole[0], "width": 40, "corner": [0, 0, 40, 48]}]
        cut = {"images": corners, "annotations": annotations, "categories": categories}
        write_json(root / f"annotations/corner/tiny_set_{part}_sw640_sh512.json", cut)
    return root


def test_the_folder_is_read_as_the_erased_data_set(source: Path) -> None:
    assert erase_folder(source) == {"train": 1, "test": 1}
    for dataset in (TinyPerson(train="whole"), TinyPerson(train="corner")):
        catalog = dataset.catalog(source, "train")
        record = catalog.records[0]
        assert record.boxes.tolist() == [[30, 5, 35, 10]]
        assert not doubtful(record).any()
        image = DetectionDataset(catalog, (), seed=0)[0].image
        assert bool((image[:, 8:12, 10:17] == image[:, 8:9, 10:11]).all())
        before = read_image(source / "train" / "labeled_images" / "a.png")
        mean = before[:, 8:12, 10:17].double().mean(dim=(1, 2)).round()
        assert image[:, 8, 10].tolist() == mean.tolist()
        changed = (image != before[:, :, : image.shape[2]]).any(dim=0).nonzero()
        assert changed.min(dim=0).values.tolist() >= [8, 10]
        assert changed.max(dim=0).values.tolist() <= [11, 16]


def test_images_without_doubtful_regions_are_the_same_files(source: Path, tmp_path: Path) -> None:
    erase_folder(source, tmp_path / "out")
    name = "test/pure_bg_images/b.jpg"
    assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    written = json.loads((tmp_path / "out/annotations/tiny_set_test.json").read_text())
    assert [image["file_name"] for image in written["images"]] == [
        "labeled_images/a.png",
        "pure_bg_images/b.jpg",
    ]


def test_what_exists_is_not_replaced_unasked(source: Path) -> None:
    erase_folder(source)
    with pytest.raises(DataError, match=r"train: exists already; choose another folder"):
        erase_folder(source)
    erase_folder(source, force=True)
    with pytest.raises(DataError, match="is the source itself"):
        erase_folder(source, source)


def test_missing_and_broken_parts_are_named(source: Path, tmp_path: Path) -> None:
    shutil.rmtree(source / "test")
    (source / "annotations/tiny_set_test.json").unlink()
    assert erase_folder(source, tmp_path / "out") == {"train": 1}
    path = source / "annotations/tiny_set_train.json"
    path.write_text(path.read_text().replace("10.0", "NaN"))
    with pytest.raises(DataError, match=r"a.png: image 0 has a box that is not finite"):
        erase_folder(source, tmp_path / "other")
    path.unlink()
    with pytest.raises(DataError, match=r"expected the file annotations/tiny_set_train.json"):
        erase_folder(source, tmp_path / "third")
