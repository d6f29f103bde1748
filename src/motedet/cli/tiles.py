"""The options that cut images into windows, for every verb that looks at images."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from motedet.data import Tiles
    from motedet.engine import LoadedDetector

Tile = Annotated[
    int | None,
    typer.Option(
        "--tile",
        min=0,
        help="Look at windows of so many pixels; 0: at whole images. Default: the recipe's.",
    ),
]
Overlap = Annotated[
    int, typer.Option(min=0, help="Pixels that windows share; larger than the objects.")
]
Merge = Annotated[
    Literal["seams", "nms"],
    typer.Option(help="seams: also drop parts of objects that another window saw whole."),
]


def with_tiles(
    loaded: "LoadedDetector", *, tile: int | None, overlap: int, merge: str
) -> "LoadedDetector":
    """The detector with the windows of the command line in place of its recipe's.

    Args:
        loaded: what `load` returned.
        tile: sides of the windows in pixels; 0 for whole images, None leaves the recipe's.
        overlap: shared by neighbours, in pixels.
        merge: "seams" or "nms".

    Raises:
        DataError: if the windows share all they have.
    """
    from dataclasses import replace

    if tile is None:
        return loaded
    tiles = windows_of(tile, overlap=overlap, merge=merge) if tile else None
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"test_tiles": tiles}))


def windows_of(tile: int, *, overlap: int, merge: str) -> "Tiles":
    """The windows of the command line.

    Args:
        tile: sides of the windows in pixels.
        overlap: shared by neighbours, in pixels.
        merge: "seams" or "nms".

    Raises:
        DataError: if the windows share all they have.
    """
    from motedet.data import Tiles
    from motedet.errors import DataError
    from motedet.geometry.merge import PlainMerge, SeamMerge

    if tile <= overlap:
        raise DataError(f"--overlap must be less than --tile {tile}; found {overlap}.")
    rule = PlainMerge() if merge == "nms" else SeamMerge()
    return Tiles(size=tile, overlap=overlap, merge=rule)
