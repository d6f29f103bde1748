"""Reading of the golden vectors: the folder is `MOTEDET_GOLDEN`, by default `../shared/golden`."""

import gzip
import importlib.util
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parents[1]
ROOT = Path(os.environ.get("MOTEDET_GOLDEN", REPO.parent / "shared" / "golden")).resolve()


def golden_path(*parts: str) -> Path:
    """Path of a golden file; skips the module where the folder is missing, fails in CI."""
    if not ROOT.is_dir():
        message = f"no golden vectors at {ROOT}; set MOTEDET_GOLDEN to the folder that has them"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message, allow_module_level=True)
    return ROOT.joinpath(*parts)


@cache
def load_npz(*parts: str) -> dict[str, NDArray[Any]]:
    """All arrays of one .npz file."""
    with np.load(golden_path(*parts), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@cache
def load_json(*parts: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """One .json or .json.gz file."""
    path = golden_path(*parts)
    if path.suffix == ".gz":
        return json.loads(gzip.decompress(path.read_bytes()))
    return json.loads(path.read_text())


def case_names(keys: list[str], *, depth: int = 1) -> list[str]:
    """The distinct first `depth` parts of keys such as `case/array`, in file order."""
    names = ["/".join(key.split("/")[:depth]) for key in keys if key.count("/") >= depth]
    return list(dict.fromkeys(names))


def fill() -> Callable[[str, tuple[int, ...]], NDArray[Any]]:
    """The rule that rebuilds whole checkpoints, from the golden folder's own `fill.py`."""
    spec = importlib.util.spec_from_file_location("golden_fill", golden_path("fill.py"))
    if spec is None or spec.loader is None:
        raise FileNotFoundError(golden_path("fill.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Callable[[str, tuple[int, ...]], NDArray[Any]]", module.fill)
