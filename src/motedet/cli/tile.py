"""`motedet tile`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Split = Literal["train", "val", "both"]
Plan = Literal["inside", "clipped", "corners"]
Partial = Literal["ignore", "drop", "keep"]


def tile(
    source: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write tiles into.")],
    *,
    dataset: Annotated[str, typer.Option(help="folder, dota or visdrone.")] = "folder",
    split: Annotated[Split, typer.Option(help="Which part.")] = "both",
    size: Annotated[int, typer.Option(min=1, help="Sides of a tile, pixels.")] = 640,
    overlap: Annotated[int, typer.Option(min=0, help="Shared by neighbours, pixels.")] = 100,
    plan: Annotated[
        Plan, typer.Option(help="The last tile of a row: see docs/scale_match.md.")
    ] = "inside",
    min_visible: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share from which a cut object counts.")
    ] = 0.7,
    partial: Annotated[Partial, typer.Option(help="What becomes of the other ones.")] = "ignore",
    force: Annotated[bool, typer.Option("--force", help="Replace tiles that exist.")] = False,
) -> None:
    """Cut large images into tiles with a COCO file, which trains like any data set."""
    from motedet.data.cut_objects import VisibleShare
    from motedet.data.cutting import Cut, cut_dataset
    from motedet.data.formats import Split as Part
    from motedet.errors import DataError

    if overlap >= size:
        raise DataError(f"--overlap must be less than --size {size}; found {overlap}.")
    cut = Cut(
        window=size,
        overlap=overlap,
        plan=plan,
        objects=VisibleShare(min_visible=min_visible, partial=partial),
    )
    parts: tuple[Part, ...] = ("train", "val") if split == "both" else (split,)
    for part in parts:
        tiles = cut_dataset(source, output, cut, dataset=dataset, split=part, force=force)
        ignored = sum(int(record.crowd.sum()) for record in tiles.records)
        print(
            f"wrote {len(tiles)} tiles with {tiles.num_objects - ignored} objects and {ignored} "
            f"regions to ignore: {output / part}, {tiles.source}"
        )
