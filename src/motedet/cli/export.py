"""`motedet export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from motedet.export.onnx_file import ExportOptions, Precision
    from motedet.export.preparation import Preparation

RUNNER = "run_model.py"
SizeText = Annotated[
    str | None,
    typer.Option("--size", help="Network input in pixels: 640, or height x width as 512x640."),
]


def export(
    weights: Annotated[Path, typer.Argument(help="A .safetensors file of ours.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    *,
    size: SizeText = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any size of image.")] = False,
    half: Annotated[bool, typer.Option("--half", help="The network in float16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="The network in 8 bits.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="Folder of images from which --int8 learns ranges.")
    ] = None,
    hard_nms: Annotated[
        bool, typer.Option("--hard-nms", help="Drop boxes where the recipe has soft-NMS.")
    ] = False,
    check: Annotated[
        list[Path], typer.Option(help="Image to compare on, besides generated ones.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    with_runner: Annotated[
        bool, typer.Option("--with-runner", help=f"Write {RUNNER} beside it; it needs no torch.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a detector as an ONNX file, compared with PyTorch before it is kept."""
    from importlib.resources import files

    from motedet.data import read_image
    from motedet.engine import load
    from motedet.errors import DataError
    from motedet.export.graph import hardened
    from motedet.export.onnx_file import export_onnx
    from motedet.export.preparation import Preparation
    from motedet.files import write_text

    if output.suffix != ".onnx":
        raise DataError(f"--output must end in .onnx; found {output}.")
    if output.exists() and not force:
        raise DataError(f"{output}: exists; choose another name, or replace it with --force.")
    precision = _precision(half=half, int8=int8, calibrate=calibrate)
    loaded = load(weights, device="cpu")
    options = _options(
        Preparation.of(loaded.recipe.data.test_transforms), size, dynamic, precision, calibrate
    )
    found = export_onnx(
        hardened(loaded.detector) if hard_nms else loaded.detector,
        loaded.recipe,
        loaded.classes,
        output,
        options=options,
        images=[read_image(path) for path in check],
    )
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, checked against PyTorch: {found}")
    if not found.detections:
        print("nothing was found in the generated images: compare on a real one with --check")
    if not loaded.recipe.test_time.plain:
        print("the recipe's views (test_time) are not in the file: it looks at each image once")
    if loaded.recipe.test_tiles is not None:
        print("the recipe's windows (test_tiles) are not in the file: predict with --tile")
    if precision != "float32":
        print(f"measure the AP of this {precision} file before you rely on it")
    if with_runner:
        runner = files("motedet.export").joinpath("runtime.py").read_text(encoding="utf-8")
        print(f"run it with {write_text(output.parent / RUNNER, runner)}")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of `--size`.

    Raises:
        DataError: unless it is one number, or two with an x between.
    """
    from motedet.errors import DataError

    numbers = text.lower().replace(",", "x").split("x")
    if len(numbers) > 2 or not all(n.strip().isdigit() and int(n) > 0 for n in numbers):
        raise DataError(f"--size must be like 640, or like 512x640 (height x width); found {text}.")
    return int(numbers[0]), int(numbers[-1])


def _precision(*, half: bool, int8: bool, calibrate: Path | None) -> "Precision":
    """What the options ask for."""
    from motedet.errors import DataError

    if half and int8:
        raise DataError("--half and --int8 exclude each other; give one.")
    if int8 != (calibrate is not None):
        raise DataError("--int8 needs --calibrate FOLDER, a folder of typical images, and only it.")
    return "half" if half else "int8" if int8 else "float32"


def _options(
    preparation: "Preparation",
    size: str | None,
    dynamic: bool,
    precision: "Precision",
    calibrate: Path | None,
) -> "ExportOptions":
    """The kind of file; without a word about the size, the one that all images have."""
    from motedet.engine.predict import find_images
    from motedet.errors import DataError
    from motedet.export.onnx_file import ExportOptions

    if dynamic and size is not None:
        raise DataError("--size and --dynamic exclude each other; give one.")
    pixels = None if dynamic else preparation.size() if size is None else parse_size(size)
    if pixels is None and not dynamic:
        raise DataError(
            "images of this recipe have no common size: give --size, the largest that they have "
            "after its test_transforms, or --dynamic."
        )
    images = find_images([str(calibrate)]) if calibrate is not None else []
    return ExportOptions(size=pixels, precision=precision, calibration=images)
