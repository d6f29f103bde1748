"""Satellite images of hundreds of megapixels, which Pillow refuses unless asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

_lock = threading.Lock()
_limits: list[int | None] = []  # Pillow's own limit, once per block that is running


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open images of any number of pixels within the block.

    Pillow takes images beyond 179 megapixels for an attack; those of DOTA-v2 have up to 806. Its
    limit is one number for the whole process, so other threads are without it in the meantime; it
    is back when the last of nested or simultaneous blocks ends.
    """
    with _lock:
        _limits.append(Image.MAX_IMAGE_PIXELS if not _limits else _limits[0])
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                Image.MAX_IMAGE_PIXELS = limit
