"""`motedet evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from motedet.cli.precision import Precision
from motedet.cli.score import NAMES, Bins, chosen_protocol, refuse_existing, show_scores
from motedet.cli.tiles import Merge, Overlap, Tile, with_tiles
from motedet.cli.views import Flips, Scales, with_views


def evaluate(
    weights: Annotated[Path, typer.Argument(help="A .safetensors file of ours.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
    *,
    protocol: Annotated[
        str | None, typer.Option(help=f"One of {NAMES}; by default the recipe's.")
    ] = None,
    bins: Bins = None,
    split: Annotated[str, typer.Option(help="val or train.")] = "val",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    detections: Annotated[
        Path | None, typer.Option(help="Write the detections (COCO results) here.")
    ] = None,
    scales: Scales = None,
    flips: Flips = [],  # noqa: B006 - typer reads it, nobody writes it
    tile: Tile = None,
    overlap: Overlap = 100,
    merge: Merge = "seams",
    batch_size: Annotated[
        int | None, typer.Option(help="Images, or windows, per forward pass.")
    ] = None,
    precision: Precision = "32",
    workers: Annotated[int, typer.Option(help="Processes that load images.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all cores.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Score weights on a data set."""
    from motedet import engine
    from motedet.cli.terminal import quiet_libraries, set_threads
    from motedet.engine.memory import keep_freed_memory
    from motedet.files import write_json

    quiet_libraries()
    set_threads(threads)
    keep_freed_memory()
    chosen = chosen_protocol(protocol, bins)
    refuse_existing([json_file, detections], force=force)
    loaded = with_views(engine.load(weights, precision=precision), scales=scales, flips=flips)
    loaded = with_tiles(loaded, tile=tile, overlap=overlap, merge=merge)
    scores, results = engine.evaluate(
        loaded, data, protocol=chosen, split=split, batch_size=batch_size, workers=workers
    )
    show_scores(scores, title=f"{weights} on {data} ({split})", json_file=json_file)
    if detections is not None:
        write_json(detections, results)
