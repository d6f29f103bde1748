"""The images and annotations of a data set, each image resized by its own factor."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from motedet.data.dataset import read_checked
from motedet.data.huge_images import any_size
from motedet.data.records import Catalog, ImageRecord
from motedet.data.scale_match.histogram import Uniform
from motedet.data.scale_match.scaling import ImageScale, ScaleLimits, choose_scale, fitted_size
from motedet.data.scale_match.shrinking import resize_pixels
from motedet.structures import Size

Rule = Callable[[float, Uniform], float]
"""Mean size of an image's objects in pixels, and random numbers, to the factor that is wanted."""

OnImage = Callable[[int, int], None]
"""Told how many images are done, and of how many."""

_THREADS: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Resized:
    """What became of a data set.

    Attributes:
        splits: name to the new images.
        outcomes: number of images by what happened to them.
        left_out: objects and regions that became too small.
    """

    splits: Mapping[str, Catalog]
    outcomes: Mapping[str, int]
    left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One image to resize."""

    record: ImageRecord
    path: Path  # to write
    seed: tuple[int, int, int]


def resize_images(
    splits: Mapping[str, Catalog],
    folder: Path,
    *,
    rule: Rule,
    limits: ScaleLimits,
    seed: int,
    antialias: bool,
    on_image: OnImage | None = None,
) -> Resized:
    """Resize every image by the factor that its objects ask for.

    Few images are in memory at a time. The result does not depend on the order in which they are
    done.

    Args:
        splits: as read, without fatal problems.
        folder: of the PNG files; made.
        rule: what is wanted.
        limits: what is allowed.
        seed: of what is drawn.
        antialias: average over the area where images shrink.
        on_image: told about progress.

    Raises:
        DataError: naming an image that cannot be used.
        OSError: if the files cannot be written.
    """
    folder.mkdir(parents=True)
    jobs = _jobs(splits, folder, seed=seed)
    total = sum(len(group) for group in jobs.values())
    outcomes: Counter[str] = Counter()
    catalogs: dict[str, Catalog] = {}
    left_out = 0
    with any_size(), ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for name, group in jobs.items():
            records = []
            for record, outcome in pool.map(
                lambda job: _resize_image(job, rule, limits, antialias=antialias), group
            ):
                records.append(record)
                outcomes[outcome] += 1
                if on_image is not None:
                    on_image(sum(outcomes.values()), total)
            left_out += splits[name].num_objects - sum(len(record) for record in records)
            catalogs[name] = replace(splits[name], records=tuple(records))
    return Resized(catalogs, dict(outcomes), left_out)


def resize_record(record: ImageRecord, size: Size, *, min_side: float) -> ImageRecord:
    """What is true in an image after it was resized.

    Args:
        record: before.
        size: new (height, width) in pixels.
        min_side: objects and regions with a shorter side after clipping to the image are left out,
            in pixels.
    """
    height, width = size
    ratio = np.array([width / record.width, height / record.height] * 2)  # [4]
    boxes = (record.boxes * ratio).clip(0.0, [width, height] * 2)  # [G, 4]
    large = (boxes[:, 2:] - boxes[:, :2] >= min_side).all(axis=1)  # [G]
    return replace(
        record[large],
        width=width,
        height=height,
        boxes=boxes[large],
        areas=record.areas[large] * ratio[0] * ratio[1],
    )


def _resize_image(
    job: _Job, rule: Rule, limits: ScaleLimits, *, antialias: bool
) -> tuple[ImageRecord, str]:
    """Write one image; what is true in it, and what happened to it."""
    record = job.record
    image = read_checked(record)  # [3, H, W]
    chosen = _chosen(job, rule, limits)
    size = fitted_size((record.height, record.width), chosen.size, keep_ratio=True)
    if size != (record.height, record.width):
        image = resize_pixels(image, size, antialias=antialias)
    pixels = image.permute(1, 2, 0).contiguous().numpy()  # [h, w, 3]
    Image.fromarray(pixels).save(job.path, compress_level=1)
    resized = resize_record(record, size, min_side=limits.min_side)
    return replace(resized, path=job.path, window=None), chosen.outcome


def _chosen(job: _Job, rule: Rule, limits: ScaleLimits) -> ImageScale:
    """The size for one image."""
    record = job.record
    random = np.random.default_rng(job.seed)
    sides = record.boxes[:, 2:] - record.boxes[:, :2]  # [G, 2]
    counted = ~(record.crowd | record.ignore) & (sides > 0).all(axis=1)  # [G]
    return choose_scale(
        record.boxes[counted].astype(np.float32),
        (record.height, record.width),
        lambda mean: rule(mean, random.random),
        limits,
    )


def _jobs(splits: Mapping[str, Catalog], folder: Path, *, seed: int) -> dict[str, list[_Job]]:
    """What is to be done, by split; every image with a file name and random numbers of its own."""
    records = [record for catalog in splits.values() for record in catalog.records]
    paths = iter(_paths(records, folder))
    return {
        name: [
            _Job(record, next(paths), (seed, number, index))
            for index, record in enumerate(catalog.records)
        ]
        for number, (name, catalog) in enumerate(splits.items())
    }


def _paths(records: list[ImageRecord], folder: Path) -> Iterator[Path]:
    """A file for every image: named as before; numbered where names are equal."""
    counts = Counter(record.path.stem.lower() for record in records)
    for number, record in enumerate(records):
        stem = record.path.stem
        unique = counts[stem.lower()] == 1
        yield folder / f"{stem if unique else f'{stem}_{number:06d}'}.png"
