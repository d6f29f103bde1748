"""`motedet predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motedet.cli.precision import Precision
from motedet.cli.tiles import Merge, Overlap, Tile, windows_of, with_tiles
from motedet.cli.views import Flips, Scales, with_views

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from motedet.engine import LoadedDetector
    from motedet.engine.predict import Prediction
    from motedet.engine.tiles import PredictImages
    from motedet.export.runtime import Model

FORMATS = ("coco", "yolo", "csv")
DRAWN = 64_000_000  # pixels; larger images are not drawn, which would take gigabytes


def predict(
    weights: Annotated[Path, typer.Argument(help="A .safetensors or .onnx file of ours.")],
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
        int | None,
        typer.Option(min=1, help="Per forward pass. Default: 1 image, or 4 windows."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Precision = "32",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all cores.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder with files.")] = False,
) -> None:
    """Detect objects in images; exit code 1 if some files could not be read."""
    chosen = formats or list(FORMATS)
    _check_output(output, chosen, force=force)
    if weights.suffix == ".onnx":
        _refuse_for_onnx(views=bool(scales or flips), device=device, precision=precision)
        if not tile:
            size = batch_size or 1
            _predict_onnx(weights, sources, output, chosen, score_thresh, draw, size, threads)
            return
    from motedet.cli.terminal import set_threads
    from motedet.engine import load
    from motedet.engine.memory import keep_freed_memory
    from motedet.engine.predict import find_images
    from motedet.engine.tiles import predict_tiled_files

    set_threads(threads)
    keep_freed_memory()
    paths = find_images(sources)
    if weights.suffix == ".onnx" and tile:
        model = _exported(weights, threads)
        classes, windows = model.classes, windows_of(tile, overlap=overlap, merge=merge)
        found = predict_tiled_files(look_by_file(model), paths, windows, batch_size=batch_size or 4)
    else:
        loaded = load(weights, device=device, precision=precision)
        loaded = with_views(loaded, scales=scales, flips=flips)
        loaded = with_tiles(loaded, tile=tile, overlap=overlap, merge=merge)
        classes, found = loaded.classes, _found(loaded, paths, batch_size)
    _write_found(classes, found, len(paths), output, chosen, score_thresh=score_thresh, draw=draw)


def _found(
    loaded: "LoadedDetector", paths: "list[Path]", batch_size: int | None
) -> "Iterator[Prediction]":
    """Predictions file by file, of whole images or by the windows of the recipe."""
    from functools import partial

    from motedet.engine.predict import predict_files, predict_images
    from motedet.engine.tiles import predict_tiled_files

    tiles = loaded.recipe.test_tiles
    if tiles is None:
        return predict_files(loaded, paths, batch_size=batch_size or 1)
    look = partial(predict_images, loaded)
    return predict_tiled_files(look, paths, tiles, batch_size=batch_size or 4)


def _write_found(
    classes: tuple[str, ...],
    found: "Iterator[Prediction]",
    total_files: int,
    output: Path,
    chosen: list[str],
    *,
    score_thresh: float,
    draw: bool,
) -> None:
    """Write and draw what is found; exit code 1 if some files could not be read."""
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import track

    from motedet.engine.outputs import distinct_names

    console = Console()
    predictions = []
    for prediction in track(
        found, "predicting", total=total_files, disable=not console.is_terminal
    ):
        if prediction.error is not None:
            print(f"skipped: {prediction.error}", file=sys.stderr)
        kept = prediction.detections[prediction.detections.scores >= score_thresh]
        predictions.append(replace(prediction, detections=kept))
    _write(output, predictions, classes, chosen)
    if draw:
        for prediction, name in zip(predictions, distinct_names(predictions), strict=True):
            if prediction.error is None:
                _draw(prediction, output / "drawings" / f"{name}.png", classes)
    failed = sum(p.error is not None for p in predictions)
    total = sum(len(p.detections) for p in predictions)
    print(f"{total} detections in {len(predictions) - failed} images: {output}")
    if failed:
        print(f"{failed} of {len(predictions)} files could not be read", file=sys.stderr)
        raise typer.Exit(1)


def _refuse_for_onnx(*, views: bool, device: str, precision: str) -> None:
    """Raise where an option asks for what an exported file does not do."""
    from motedet.errors import DataError

    if views:
        raise DataError(
            "--scales and --flip need the .safetensors weights; an .onnx file looks at each image, "
            "or window, once."
        )
    if device not in ("auto", "cpu"):
        raise DataError(f"an .onnx file runs on the CPU; found --device {device}.")
    if precision != "32":
        raise DataError(
            f"an .onnx file has the precision that it was exported in; found --precision "
            f"{precision}."
        )


def _exported(path: Path, threads: int) -> "Model":
    """An exported file, ready to run."""
    from motedet.errors import DataError
    from motedet.export import runtime

    try:
        return runtime.Model(path, threads=threads)
    except runtime.ModelFileError as error:
        raise DataError(str(error)) from error


def look_by_file(model: "Model") -> "PredictImages":
    """How an exported file looks at windows; torch only carries pixels and boxes."""
    import torch

    from motedet.errors import MotedetError
    from motedet.export import runtime
    from motedet.structures import Detections

    def predict(images: "Sequence[torch.Tensor]") -> list[Detections]:
        pixels = [image.permute(1, 2, 0).numpy() for image in images]
        try:
            answers = model.predict(pixels)
        except runtime.ModelFileError as error:  # of every window: not a matter of one file
            raise MotedetError(str(error)) from error
        return [Detections(*map(torch.from_numpy, answer)) for answer in answers]

    return predict


def _predict_onnx(
    model: Path,
    sources: list[str],
    output: Path,
    formats: list[str],
    score_thresh: float,
    draw: bool,
    batch_size: int,
    threads: int,
) -> None:
    """The same with an exported file; torch is not imported."""
    from motedet.errors import DataError
    from motedet.export import runtime

    try:
        runner = runtime.Model(model, threads=threads)
        paths = runtime.find_images(sources)
        found = []
        for one in runner.predict_files(paths, batch_size=batch_size):
            if one.error is not None:
                print(f"skipped: {one.error}", file=sys.stderr)
            found.append(one.above(score_thresh))
    except runtime.ModelFileError as error:
        raise DataError(str(error)) from error
    runtime.write_results(output, found, runner.classes, formats)
    if draw:
        for one, name in zip(found, runtime.distinct_names(paths), strict=True):
            if one.error is None and not runtime.draw(one, output / "drawings" / f"{name}.png"):
                print(f"not drawn: {one.path} is too large", file=sys.stderr)
    failed = sum(one.error is not None for one in found)
    total = sum(len(one.scores) for one in found)
    print(f"{total} detections in {len(found) - failed} images: {output}")
    if failed:
        print(f"{failed} of {len(found)} files could not be read", file=sys.stderr)
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
