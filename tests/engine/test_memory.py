import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from motedet.engine import memory
from motedet.engine.memory import CHOSEN, keep_freed_memory

FAULTS = """
import resource, runpy, sys
import numpy as np

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(100_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep = runpy.run_path(sys.argv[1])["keep_freed_memory"]
print(keep(), faults(), faults())
"""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What `mallopt` is asked for, without being asked."""
    asked: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        asked.append((name, value))
        return 1

    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    return asked


def test_nothing_is_given_back(calls: list[tuple[int, int]]) -> None:
    assert keep_freed_memory()
    assert calls == [(-1, -1), (-4, 0)]


def test_the_choice_of_the_user_stays(
    calls: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "100000")
    assert not keep_freed_memory()
    assert not calls


@pytest.mark.usefixtures("calls")
def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be asked")
def test_the_second_array_needs_no_new_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    words = [sys.executable, "-c", FAULTS, str(Path(memory.__file__))]
    kept, first, second = subprocess.check_output(words, text=True).split()
    assert kept == "True"
    assert int(second) < int(first) / 10
