from pathlib import Path

import pytest

from motedet.files import write_bytes


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_bytes(path, b"one")
    assert write_bytes(path, b"two") == path
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path / "a.txt", b"old")

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(f"cannot rename {self} to {target}")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="cannot rename"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
