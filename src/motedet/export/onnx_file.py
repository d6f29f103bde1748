"""Writing a detector as an ONNX file, decoding and suppression included."""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from motedet.errors import MissingPackageError
from motedet.export import ExportError
from motedet.export.comparison import Comparison, compare
from motedet.export.graph import ExportGraph, example_inputs, graph_of
from motedet.export.preparation import Preparation
from motedet.files import write_bytes
from motedet.models.detectors import Detector
from motedet.recipes import Recipe
from motedet.release import own_version
from motedet.structures import Size

try:
    import onnx

    from motedet.export.operators import translations
    from motedet.export.quantisation import quantised
    from motedet.export.rounds import with_functions
except ImportError as error:
    raise MissingPackageError(
        f"export needs onnx, onnxruntime and onnxscript ({error.name} is missing); install them "
        "with `pip install motedet[onnx]`."
    ) from error

FORMAT: Final = 1  # of the notes in the file
KEY: Final = "motedet"
INPUTS: Final = ["images", "sizes"]
OUTPUTS: Final = ["image", "boxes", "scores", "labels"]
TRACED: Final = 2  # images; one alone would be taken for a constant
OPSET: Final = 20  # deformable convolution needs 19
LARGEST: Final = 512  # cells of 32 px per side of a file of dynamic size

Precision = Literal["float32", "half", "int8"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What kind of file is written.

    Attributes:
        size: (height, width) of the network input; None lets every image have its own.
        precision: of the network; boxes are computed in float32 always.
        calibration: image files from which "int8" learns the ranges of values.
    """

    size: Size | None
    precision: Precision = "float32"
    calibration: Sequence[Path] = ()

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if (self.precision == "int8") != bool(self.calibration):
            raise ValueError(
                "int8 needs calibration images, and only int8 does; got precision "
                f"{self.precision!r} and {len(self.calibration)} images."
            )


def export_onnx(
    detector: Detector,
    recipe: Recipe,
    classes: Sequence[str],
    path: Path,
    *,
    options: ExportOptions,
    images: Sequence[Tensor] = (),
) -> Comparison:
    """Write a file and compare it with the detector; nothing is left if it differs.

    Args:
        detector: in evaluation mode, on the CPU.
        recipe: that it was trained by.
        classes: names in label order.
        path: of the file.
        options: what kind of file.
        images: uint8 [3, H, W] in RGB to compare on, besides a generated pair.

    Returns:
        By how much the file and the detector differ.

    Raises:
        ExportError: if the detector cannot be exported, or the file gives other detections.
        RecipeError: if the recipe's test transforms or the size cannot be kept.
    """
    preparation = Preparation.of(recipe.data.test_transforms)
    if options.size is not None:
        preparation.check(options.size)
    graph = graph_of(detector, preparation, half=options.precision == "half")
    model = traced(graph, preparation, options.size)
    notes = {
        "format": FORMAT,
        "version": own_version(),
        "classes": list(classes),
        "preparation": preparation.as_dict(),
        "size": None if options.size is None else list(options.size),
        "precision": options.precision,
        "recipe": recipe.model_dump(mode="json"),
    }
    model.metadata_props.add(key=KEY, value=json.dumps(notes))
    if options.precision == "int8":
        with tempfile.TemporaryDirectory() as folder:
            model = quantised(model, options.calibration, Path(folder))
    content: bytes = model.SerializeToString()
    found = compare(content, detector, preparation, size=options.size, images=images)
    found.check(options.precision)
    write_bytes(path, content)
    return found


def traced(graph: ExportGraph, preparation: Preparation, size: Size | None) -> Any:  # noqa: ANN401
    """The ONNX model of a graph.

    Args:
        graph: what `graph_of` returned.
        preparation: of the images, which says what a dynamic size is a multiple of.
        size: (height, width), or None for a dynamic one.

    Raises:
        ExportError: with the exporter's reason.
    """
    images: dict[int, Any] = {0: torch.export.Dim("batch")}
    cell = preparation.pad.divisor
    if size is None:
        images[2] = cell * torch.export.Dim("rows", min=2, max=LARGEST)
        images[3] = cell * torch.export.Dim("columns", min=2, max=LARGEST)
    example = example_inputs(size or _example_size(graph, cell), batch=TRACED)
    shapes = {"images": images, "sizes": {0: images[0]}}
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(graph, example, dynamic_shapes=shapes, strict=False)
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=INPUTS,
                output_names=OUTPUTS,
                opset_version=OPSET,
                custom_translation_table=translations(),
                verbose=False,
            )
        except (RuntimeError, ValueError, torch.onnx.OnnxExporterError) as error:
            reason = str(error).strip().splitlines()[0]
            hint = " Give --size in place of --dynamic." if size is None else ""
            raise ExportError(
                f"{type(graph.network.detector).__name__} cannot be exported: {reason}{hint}"
            ) from error
    if written is None:
        raise ExportError("torch.onnx.export returned nothing.")
    model = with_functions(written.model_proto)
    onnx.checker.check_model(model)
    return model


def _example_size(graph: ExportGraph, cell: int) -> Size:
    """(height, width) at which every map has several rows and columns: one is made a constant."""
    detector: Any = graph.network.detector
    coarsest = max(*detector.backbone.strides, *detector.neck.strides)
    return -(-3 * coarsest // cell) * cell, -(-5 * coarsest // cell) * cell


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in (r"torch\.onnx\..*", r"torch\.export\..*", r"onnxscript\..*"):
                warnings.filterwarnings("ignore", module=module)
            warnings.filterwarnings("ignore", message=r"# The axis name: .* will not be used")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
