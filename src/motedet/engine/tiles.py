"""Prediction on images of any size, window by window: memory grows with the batch alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motedet.data import Catalog, ImageRecord, Tiles
from motedet.data.rasters import Raster, open_raster
from motedet.data.tiling import Window, boxes_to_image
from motedet.engine.predict import Prediction, chunks, predict_images
from motedet.engine.weights import LoadedDetector
from motedet.errors import DataError
from motedet.geometry.merge import Sightings
from motedet.metrics import coco_results
from motedet.structures import Detections, Size

PredictImages = Callable[[Sequence[Tensor]], list[Detections]]
"""Detections in images [3, H, W] uint8 in RGB, each in its own pixels."""


def predict_tiles(
    loaded: LoadedDetector, raster: Raster, tiles: Tiles, *, batch_size: int = 4
) -> Detections:
    """Detections of a whole image, best first, in its pixels.

    Args:
        loaded: what `load` returned.
        raster: the image; windows are read while the last batch is looked at.
        tiles: windows and merging.
        batch_size: windows per forward pass.
    """
    predict = partial(predict_images, loaded)
    return predict_windows(predict, raster, tiles, batch_size=batch_size)


def predict_windows(
    predict: PredictImages, raster: Raster, tiles: Tiles, *, batch_size: int = 4
) -> Detections:
    """The same of anything that looks at images.

    Args:
        predict: looks at a batch of windows.
        raster: the image; windows are read while the last batch is looked at.
        tiles: windows and merging.
        batch_size: windows per forward pass.
    """
    plan = tiles.windows(raster.size)
    parts: list[Sightings] = []
    count = 0
    for chunk, images in _read_ahead(raster, plan, batch_size):
        for window, found in zip(chunk, predict(images), strict=True):
            parts.append(_sightings(found, window, count, raster.size, tiles.seam))
            count += 1
    seen = _joined(parts)
    kept = tiles.merge(seen)[: tiles.max_per_image]
    return Detections(seen.boxes[kept], seen.scores[kept], seen.labels[kept])


def predict_tiled_files(
    predict: PredictImages, paths: Iterable[Path], tiles: Tiles, *, batch_size: int = 4
) -> Iterator[Prediction]:
    """Predictions file by file; a file that cannot be read is reported and the rest goes on.

    Args:
        predict: looks at a batch of windows.
        paths: image files; TIFF files are read by window.
        tiles: windows and merging.
        batch_size: windows per forward pass.

    Yields:
        One prediction per path, in order.
    """
    for path in paths:
        try:
            with open_raster(path) as raster:
                found = predict_windows(predict, raster, tiles, batch_size=batch_size)
                yield Prediction(path, raster.size, found)
        except DataError as error:
            yield Prediction(path, (0, 0), Detections.empty(), str(error))


def tiled_results(
    loaded: LoadedDetector, catalog: Catalog, tiles: Tiles, *, batch_size: int = 4
) -> list[dict[str, Any]]:
    """COCO results of the whole images of a catalog.

    Raises:
        DataError: naming an image that cannot be read, or is not of the size that its annotations
            say.
    """
    results: list[dict[str, Any]] = []
    for record in catalog.records:
        found = predict_record(loaded, record, tiles, batch_size=batch_size)
        results += coco_results(found, record.image_id, catalog.category_ids)
    return results


def predict_record(
    loaded: LoadedDetector, record: ImageRecord, tiles: Tiles, *, batch_size: int = 4
) -> Detections:
    """Detections of the whole image of a record, best first, in its pixels.

    Raises:
        DataError: if it cannot be read, or is not of the size that its annotations say.
    """
    with open_raster(record.path) as raster:
        if raster.size != (record.height, record.width):
            raise DataError(
                f"{record.path}: image {record.image_id} is {raster.size[1]} x {raster.size[0]} "
                f"pixels, but its annotations say {record.width} x {record.height}; correct the "
                "annotation file."
            )
        return predict_tiles(loaded, raster, tiles, batch_size=batch_size)


def _read_ahead(
    raster: Raster, plan: Sequence[Window], batch_size: int
) -> Iterator[tuple[list[Window], list[Tensor]]]:
    """Windows with their pixels, batch after batch; the next batch is read in the meantime."""

    def read(chunk: list[Window]) -> tuple[list[Window], list[Tensor]]:
        return chunk, [raster.read(window) for window in chunk]

    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = None
        for chunk in chunks(plan, batch_size):
            ready, coming = coming, reader.submit(read, chunk)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _sightings(
    found: Detections, window: Window, number: int, size: Size, seam: float
) -> Sightings:
    """The detections of one window, in pixels of the image.

    Args:
        found: D detections in pixels of the window.
        window: where it lies.
        number: of the window.
        size: (height, width) of the image.
        seam: how close to the window's end a box is cut, in pixels.
    """
    x1, y1, x2, y2 = found.boxes.unbind(1)  # [D] each
    height, width = window.size
    cut = (x1 <= seam) & (window.x > 0) | (y1 <= seam) & (window.y > 0)
    cut |= (x2 >= width - seam) & (window.x + width < size[1])
    cut |= (y2 >= height - seam) & (window.y + height < size[0])
    return Sightings(
        boxes_to_image(found.boxes, window),
        found.scores,
        found.labels,
        torch.full_like(found.labels, number),
        cut,
    )


def _joined(parts: Sequence[Sightings]) -> Sightings:
    """One list of all, at least one part."""
    return Sightings(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.window for part in parts]),
        torch.cat([part.cut for part in parts]),
    )
