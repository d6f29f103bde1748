from pathlib import Path

import numpy as np
import pytest

from motedet.data import Folder, prepare_catalog
from motedet.data.check import check_dataset
from motedet.data.images import read_image
from motedet.data.synthetic import CLASSES, SceneSpec, make_scene, write_scenes
from motedet.errors import DataError

SPEC = SceneSpec(size=(128, 96), objects=6)


def test_the_folder_reads_back_without_problems(tmp_path: Path) -> None:
    write_scenes(tmp_path / "set", SPEC, train=3, val=2, seed=5)
    report = check_dataset(tmp_path / "set", decode=True)
    assert report.fatal == ()
    assert report.bins["under 2"] == 0
    train = prepare_catalog(Folder().catalog(tmp_path / "set", "train"))
    assert len(train) == 3
    assert train.classes == CLASSES
    assert (train.records[0].height, train.records[0].width) == (128, 96)
    scene = make_scene(SPEC, (5, 0, 0))
    np.testing.assert_allclose(train.records[0].boxes, scene.boxes, atol=0.02)
    image = read_image(train.records[0].path)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), scene.image)


def test_splits_do_not_share_scenes(tmp_path: Path) -> None:
    write_scenes(tmp_path, SPEC, train=1, val=1)
    first, second = (
        (tmp_path / "images" / f"{split}_00001.png").read_bytes() for split in ("train", "val")
    )
    assert first != second


def test_more_scenes_leave_the_first_as_they_are(tmp_path: Path) -> None:
    write_scenes(tmp_path / "a", SPEC, train=1, val=0)
    write_scenes(tmp_path / "b", SPEC, train=2, val=0)
    name = Path("images") / "train_00001.png"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="scenes cannot be written there"):
        write_scenes(tmp_path / "file" / "set", SPEC, train=1, val=1)
