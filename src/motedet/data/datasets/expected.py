"""Files and folders that a data set must have, and the message when it does not."""

from collections.abc import Sequence
from pathlib import Path

from motedet.errors import DataError


def expected_file(root: Path, name: str, source: str) -> Path:
    """The path of a file under `root`.

    Args:
        root: folder of the data set.
        name: relative path.
        source: where to get the data, a sentence.

    Raises:
        DataError: saying what was expected, what was found, and where to get it.
    """
    path = Path(root) / name
    if not path.is_file():
        raise DataError(f"{root}: expected the file {name}; found {_found(path)}. {source}")
    return path


def expected_folder(root: Path, names: Sequence[str], source: str) -> Path:
    """The first of several folders under `root` that exists.

    Raises:
        DataError: saying what was expected, what was found, and where to get it.
    """
    for name in names:
        if (Path(root) / name).is_dir():
            return Path(root) / name
    found = _found(Path(root) / names[0])
    raise DataError(f"{root}: expected a folder {' or '.join(names)}; found {found}. {source}")


def _found(path: Path) -> str:
    """What is in the nearest folder above a missing path."""
    place = next((parent for parent in path.parents if parent.is_dir()), None)
    if place is None:
        return "no such folder"
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in place.iterdir())
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"in {place}: {listed or 'nothing'}"
