from importlib.metadata import PackageNotFoundError

import pytest

import motedet
from motedet.release import own_version


def test_the_version_is_that_of_the_package() -> None:
    assert own_version() == motedet.__version__


def test_a_source_tree_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("motedet.release.version", missing)
    assert own_version() == "unknown"
