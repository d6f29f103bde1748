from pathlib import Path

import pytest

from fake_data import write_image
from motedet.data.formats.places import find_image_folder
from motedet.errors import DataError


def test_the_folder_with_most_of_the_images_wins(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    write_image(tmp_path / "images" / "a.png")
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "train" / name)
    path = tmp_path / "annotations" / "train.json"
    assert find_image_folder(path, ["a.png", "b.png"]) == tmp_path / "train"


def test_some_missing_images_do_not_matter_here(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "b.png")
    path = tmp_path / "train.json"
    assert find_image_folder(path, ["a.png", "b.png"]) == tmp_path / "images"


def test_no_images_at_all(tmp_path: Path) -> None:
    assert find_image_folder(tmp_path / "x.json", []).is_dir()
    with pytest.raises(DataError, match=r"its images were not found, for example 'a.png'"):
        find_image_folder(tmp_path / "x.json", ["a.png"])
