"""Memory that stays with the process between two forward passes."""

import ctypes
import os
from typing import Final

M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h, as M_MMAP_MAX
M_MMAP_MAX: Final = -4
NEVER_TRIM: Final = -1  # man 3 mallopt
NEVER_MMAP: Final = 0
CHOSEN: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for the tensors to come, from now until the process ends.

    By itself it gives feature maps of more than 32 MB back to the system as they are freed. The
    next ones are new pages then, which the system fills with zeros one by one: more work than a
    cheap layer has with them. Results are the same to the last bit. The process stays as large as
    it once was, which is why commands do this and the library does not.

    Returns:
        Whether anything has changed: not where the C library is another one, nor where the user
        has chosen by a variable such as `MALLOC_TRIM_THRESHOLD_`.
    """
    if any(name in os.environ for name in CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows has no such library
        return False
    kept = mallopt(M_TRIM_THRESHOLD, NEVER_TRIM) and mallopt(M_MMAP_MAX, NEVER_MMAP)
    return bool(kept)
