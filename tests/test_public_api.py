"""What a user sees first: a light import, the public names, and the command's help."""

import importlib.metadata
import subprocess
import sys

import pytest

import motedet

HEAVY = ("lightning", "matplotlib", "onnx", "scipy", "torch", "timm", "pydantic")


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("statement", ["import motedet", "import motedet.cli"])
def test_import_is_light(statement: str) -> None:
    loaded = run(f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded.split() == []


def test_public_names_exist() -> None:
    for name in motedet.__all__:
        assert getattr(motedet, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = motedet.no_such_name


def test_version_is_that_of_the_package() -> None:
    assert motedet.__version__ == importlib.metadata.version("motedet")


def test_help_lists_every_verb() -> None:
    text = run("import sys; sys.argv = ['motedet', '--help']; import motedet.cli as c; c.main()")
    verbs = [
        "train",
        "evaluate",
        "score",
        "predict",
        "tile",
        "export",
        "info",
        "scale-match",
        "recipes",
        "import-checkpoint",
        "report",
        "demo",
        "data",
    ]
    assert [verb for verb in verbs if verb not in text] == []
