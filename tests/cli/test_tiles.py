"""`--tile`: whole images by windows."""

from typing import Any

import pytest
from torch import nn

from motedet.cli.tiles import with_tiles
from motedet.engine import LoadedDetector
from motedet.errors import DataError
from motedet.geometry.merge import PlainMerge, SeamMerge
from motedet.recipes import load_recipe


@pytest.fixture
def loaded() -> LoadedDetector:
    nothing: Any = nn.Identity()
    recipe = load_recipe("demo", ["test_tiles={size: 320, overlap: 32}"])
    return LoadedDetector(nothing, recipe, ("a",))


def test_without_the_option_the_recipe_decides(loaded: LoadedDetector) -> None:
    assert with_tiles(loaded, tile=None, overlap=1000, merge="nms") is loaded
    assert with_tiles(loaded, tile=0, overlap=100, merge="nms").recipe.test_tiles is None


def test_the_option_takes_its_place(loaded: LoadedDetector) -> None:
    seams = with_tiles(loaded, tile=64, overlap=16, merge="seams").recipe.test_tiles
    plain = with_tiles(loaded, tile=64, overlap=16, merge="nms").recipe.test_tiles
    assert seams is not None
    assert plain is not None
    assert (seams.size, seams.overlap, seams.merge) == (64, 16, SeamMerge())
    assert plain.merge == PlainMerge()
    with pytest.raises(DataError, match="--overlap must be less than --tile 64; found 64"):
        with_tiles(loaded, tile=64, overlap=64, merge="nms")
