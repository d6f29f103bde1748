"""The options that cut images into windows, for every verb that looks at images."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from motedet.engine.tiles import Tiles

Tile = Annotated[
    int | None, typer.Option("--tile", min=1, help="Look at windows of so many pixels.")
]
Overlap = Annotated[
    int, typer.Option(min=0, help="Pixels that windows share; larger than the objects.")
]
Merge = Annotated[
    Literal["seams", "nms"],
    typer.Option(help="seams: also drop parts of objects that another window saw whole."),
]


def tiles_of(tile: int | None, overlap: int, merge: str) -> "Tiles | None":
    """What the options say; None to look at whole images."""
    from motedet.engine.tiles import Tiles
    from motedet.errors import DataError
    from motedet.geometry.merge import PlainMerge, SeamMerge

    if tile is None:
        return None
    if overlap >= tile:
        raise DataError(f"--overlap must be less than --tile {tile}; found {overlap}.")
    rule = PlainMerge() if merge == "nms" else SeamMerge()
    return Tiles(size=tile, overlap=overlap, merge=rule)
