"""`motedet predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motedet.cli.tiles import Merge, Overlap, Tile, with_tiles
from motedet.cli.views import Flips, Scales, with_views

if TYPE_CHECKING:
    from motedet.engine.predict import Prediction

FORMATS = ("coco", "yolo", "csv")
DRAWN = 64_000_000  # pixels; larger images are not drawn, which would take gigabytes


def predict(
    weights: Annotated[Path, typer.Argument(help="A .safetensors file of ours.")],
    sources: Annotated[list[str], typer.Argument(help="Image files, folders or patterns.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    *,
    formats: Annotated[
        list[str], typer.Option("--format", help="coco, yolo, csv; may be repeated. Default: all.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    score_thresh: Annotated[
        float, typer.Option("--score", min=0, max=1, help="Leave out what scores less.")
    ] = 0.3,
    draw: Annotated[bool, typer.Option(help="Draw the boxes into copies of the images.")] = True,
    scales: Scales = None,
    flips: Flips = [],  # noqa: B006 - typer reads it, nobody writes it
    tile: Tile = None,
    overlap: Overlap = 100,
    merge: Merge = "seams",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images, or windows, per forward pass.")
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all cores.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder with files.")] = False,
) -> None:
    """Detect objects in images; exit code 1 if some files could not be read."""
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import track

    from motedet.cli.terminal import set_threads
    from motedet.engine import load
    from motedet.engine.outputs import distinct_names
    from motedet.engine.predict import find_images, predict_files
    from motedet.engine.tiles import predict_tiled_files

    chosen = formats or list(FORMATS)
    _check_output(output, chosen, force=force)
    set_threads(threads)
    paths = find_images(sources)
    loaded = with_views(load(weights, device=device), scales=scales, flips=flips)
    console = Console()
    loaded = with_tiles(loaded, tile=tile, overlap=overlap, merge=merge)
    tiles = loaded.recipe.test_tiles
    if tiles is None:
        found = predict_files(loaded, paths, batch_size=batch_size)
    else:
        found = predict_tiled_files(loaded, paths, tiles, batch_size=batch_size)
    predictions = []
    for prediction in track(found, "predicting", total=len(paths), disable=not console.is_terminal):
        if prediction.error is not None:
            print(f"skipped: {prediction.error}", file=sys.stderr)
        kept = prediction.detections[prediction.detections.scores >= score_thresh]
        predictions.append(replace(prediction, detections=kept))
    _write(output, predictions, loaded.classes, chosen)
    if draw:
        for prediction, name in zip(predictions, distinct_names(predictions), strict=True):
            if prediction.error is None:
                _draw(prediction, output / "drawings" / f"{name}.png", loaded.classes)
    failed = sum(p.error is not None for p in predictions)
    total = sum(len(p.detections) for p in predictions)
    print(f"{total} detections in {len(predictions) - failed} images: {output}")
    if failed:
        print(f"{failed} of {len(predictions)} files could not be read", file=sys.stderr)
        raise typer.Exit(1)


def _check_output(output: Path, formats: list[str], *, force: bool) -> None:
    """Raise where the results could not be written, before the work starts."""
    from motedet.errors import DataError

    if unknown := [f for f in formats if f not in FORMATS]:
        raise DataError(f"--format must be one of {', '.join(FORMATS)}; found {unknown[0]!r}.")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise DataError(f"{output}: not empty; choose another folder, or write there with --force.")


def _write(
    output: Path, predictions: "list[Prediction]", classes: tuple[str, ...], formats: list[str]
) -> None:
    """The result files."""
    from motedet.engine.outputs import write_coco, write_csv, write_yolo

    output.mkdir(parents=True, exist_ok=True)
    if "coco" in formats:
        write_coco(output, predictions, classes)
    if "yolo" in formats:
        write_yolo(output, predictions)
    if "csv" in formats:
        write_csv(output, predictions, classes)


def _draw(prediction: "Prediction", path: Path, classes: tuple[str, ...]) -> None:
    """A copy of the image with the boxes drawn in, unless it is huge."""
    from motedet.data import read_image
    from motedet.report.drawing import draw_detections

    found, (height, width) = prediction.detections, prediction.size
    if height * width > DRAWN:
        print(f"not drawn: {prediction.path} has {width} x {height} pixels", file=sys.stderr)
        return
    drawing = draw_detections(
        read_image(prediction.path), found.boxes, found.labels, found.scores, classes=classes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.save(path)
