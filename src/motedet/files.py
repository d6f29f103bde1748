"""Writing a file or a folder whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place if the block ends well.

    The folder is made if it is missing. A crash leaves the old file or the new one, never half of
    one.

    Args:
        path: file to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.chmod(0o644)  # some writers make files that only the owner reads
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its place if the block ends well.

    Args:
        folder: to write; what is in it now goes.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write all of a file; returns `path`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write all of a UTF-8 file; returns `path`."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file, lists (which are long) without indentation; returns `path`."""
    return write_text(path, json.dumps(value, indent=None if isinstance(value, list) else 2))
