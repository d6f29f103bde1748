from pathlib import Path

import pytest

from motedet.engine.run_folder import RunFolder
from motedet.errors import DataError


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.prepare(resume=False, force=False)
    assert folder.root.is_dir()
    assert folder.next_part() == "part_0"


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.recipe.write_text("mine")
    with pytest.raises(DataError, match=r"--resume.*-o.*--force"):
        folder.prepare(resume=False, force=False)
    assert folder.recipe.read_text() == "mine"


def test_force_removes_what_the_old_run_made_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for path in (folder.recipe, folder.best, folder.state, tmp_path / "notes.txt"):
        path.write_text("old")
    (folder.logs / "part_3").mkdir(parents=True)
    folder.prepare(resume=False, force=True)
    assert not folder.best.exists()
    assert not folder.state.exists()
    assert (tmp_path / "notes.txt").read_text() == "old"
    assert folder.next_part() == "part_0"


def test_parts_count_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for name in ("part_0", "part_9", "part_10"):
        (folder.logs / name).mkdir(parents=True)
    assert folder.next_part() == "part_11"
    for name in ("part_10", "part_9"):
        (folder.logs / name / "metrics.csv").touch()
    assert [path.parent.name for path in folder.histories()] == ["part_9", "part_10"]


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"last\.ckpt is missing"):
        RunFolder(tmp_path).prepare(resume=True, force=False)
