"""Prediction on image files, folders and arrays."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from motedet.data import IMAGE_SUFFIXES, Compose, Sample, collate, read_image
from motedet.engine.weights import LoadedDetector, load
from motedet.errors import DataError
from motedet.geometry import scale_boxes
from motedet.structures import Detections, Size

logger = logging.getLogger(__name__)

T = TypeVar("T")
Source = Path | str | Tensor


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was found in one file, or why nothing could be.

    Attributes:
        path: the file.
        size: (height, width) in pixels; (0, 0) if the file could not be read.
        detections: in pixels of the file.
        error: one line, or None.
    """

    path: Path
    size: Size
    detections: Detections
    error: str | None = None


def predict(
    weights: Path | str | LoadedDetector,
    images: Source | Sequence[Source],
    *,
    score_thresh: float = 0.0,
    batch_size: int = 1,
) -> list[dict[str, Tensor]]:
    """Detections in torchvision's convention, one dictionary per image.

    Args:
        weights: a weights file of ours, or what `load` made of one.
        images: paths of image files, or uint8 tensors [3, H, W] in RGB; one or many.
        score_thresh: leave out detections that score less.
        batch_size: images per forward pass.

    Returns:
        `boxes` [D, 4] xyxy in pixels of the image, `labels` [D] int64, `scores` [D], best first.

    Raises:
        DataError: naming the file that cannot be read.
    """
    loaded = weights if isinstance(weights, LoadedDetector) else load(weights)
    sources = [images] if isinstance(images, (Path, str, Tensor)) else list(images)
    found: list[dict[str, Tensor]] = []
    for chunk in chunks(sources, batch_size):
        pixels = [s if isinstance(s, Tensor) else read_image(Path(s)) for s in chunk]
        detections = predict_images(loaded, pixels)
        found += [d[d.scores >= score_thresh].as_dict() for d in detections]
    return found


def predict_files(
    loaded: LoadedDetector, paths: Iterable[Path], *, batch_size: int = 1
) -> Iterator[Prediction]:
    """Predictions file by file; a file that cannot be read is reported and the rest goes on.

    Args:
        loaded: what `load` returned.
        paths: image files.
        batch_size: images per forward pass.

    Yields:
        One prediction per path, in order.
    """
    for chunk in chunks(paths, batch_size):
        pixels: dict[Path, Tensor] = {}
        errors: dict[Path, str] = {}
        for path in chunk:
            try:
                pixels[path] = read_image(path)
            except DataError as error:
                errors[path] = str(error)
        detections = dict(zip(pixels, predict_images(loaded, list(pixels.values())), strict=True))
        for path in chunk:
            if path in errors:
                yield Prediction(path, (0, 0), Detections.empty(), errors[path])
            else:
                height, width = pixels[path].shape[-2:]
                yield Prediction(path, (height, width), detections[path])


def predict_images(loaded: LoadedDetector, images: Sequence[Tensor]) -> list[Detections]:
    """Detections of images in memory, in their own pixels.

    Args:
        loaded: what `load` returned.
        images: uint8 tensors [3, H, W] in RGB, of any sizes.
    """
    if not images:
        return []
    prepare = Compose(loaded.recipe.data.test_transforms)
    generator = torch.Generator()
    samples = [prepare(Sample.of_image(image), generator) for image in images]
    batch = collate(samples)
    found = loaded.predict_batch(batch.images, batch.image_sizes)
    return [
        to_original(d, batch.image_sizes[i], batch.original_sizes[i]) for i, d in enumerate(found)
    ]


def to_original(found: Detections, image_size: Size, original_size: Size) -> Detections:
    """Detections in pixels of the image file.

    Args:
        found: D detections in pixels of the network input.
        image_size: (height, width) of the resized image, without padding.
        original_size: (height, width) of the file.
    """
    scale = (original_size[1] / image_size[1], original_size[0] / image_size[0])
    return Detections(scale_boxes(found.boxes, scale), found.scores, found.labels)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def find_images(sources: Sequence[str]) -> list[Path]:
    """Image files named by paths, folders (searched in depth) and globs, in order, each once.

    Raises:
        DataError: naming a source that matches nothing.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        elif path.is_file():
            found = [path]
        else:
            found = sorted(Path(path.anchor or ".").glob(_pattern(path)))
        if not found:
            raise DataError(
                f"{source}: no such file, or no images there; expected a file, a folder or a "
                f"pattern with {', '.join(sorted(IMAGE_SUFFIXES))}."
            )
        paths += found
    return list(dict.fromkeys(paths))


def _pattern(path: Path) -> str:
    """A pattern relative to its root or to the working folder."""
    return str(path.relative_to(path.anchor)) if path.anchor else str(path)
