"""`--tile`: whole images by windows."""


import pytest

from motedet.cli.tiles import tiles_of
from motedet.errors import DataError
from motedet.geometry.merge import PlainMerge, SeamMerge


def test_options() -> None:
    assert tiles_of(None, 100, "seams") is None
    seams, plain = tiles_of(64, 16, "seams"), tiles_of(64, 16, "nms")
    assert seams is not None
    assert plain is not None
    assert (seams.size, seams.overlap, seams.merge) == (64, 16, SeamMerge())
    assert plain.merge == PlainMerge()
    with pytest.raises(DataError, match="--overlap must be less than --tile 64; found 64"):
        tiles_of(64, 64, "nms")
