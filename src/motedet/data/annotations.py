"""Which annotations can be used: what is wrong with their boxes, and the catalog without it."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.data.records import Catalog, ImageRecord, Problem, Severity, refuse_fatal

OUTSIDE: Final = 0.01  # px; annotation tools round, so less than this is no news
KINDS: Final[tuple[tuple[str, Severity, str], ...]] = (
    ("box not finite", "fatal", "it must be four finite numbers; correct or delete it."),
    ("negative box", "fatal", "width and height must not be negative; correct or delete it."),
    ("zero-size box", "tolerated", "width and height must be positive; it is left out."),
    ("box outside image", "tolerated", "it does not touch the image; it is left out."),
    ("box under the smallest size", "tolerated", "it is left out."),
    ("box partly outside image", "tolerated", "it is cut at the border of the image."),
)
_LEFT_OUT: Final = 4  # the last kind whose boxes are not used


def prepare_catalog(
    catalog: Catalog,
    *,
    min_size: float = 1.0,
    min_image_side: int = 1,
    keep_empty: bool = True,
) -> Catalog:
    """The catalog without annotations that nobody can learn from.

    Left out, as in the published loaders of COCO files: objects marked `ignore`, boxes that do not
    touch the image, empty boxes, and boxes with a side under `min_size`. Boxes that reach over the
    border are cut there. Crowds stay: they become ignored regions.

    The published training also drops images with a side under 32 pixels and images without
    objects: `min_image_side=32, keep_empty=False`. By default they stay, because scenes without
    objects teach what background looks like.

    Args:
        catalog: as read.
        min_size: smallest width and height in pixels; a box of exactly this size stays.
        min_image_side: images with a shorter side are dropped.
        keep_empty: keep images without usable objects.

    Returns:
        A new catalog whose `problems` are those tolerated, of the readers and of this function.

    Raises:
        DataError: at the first fatal problem, or if no object is left at all.
    """
    problems = [*catalog.problems, *box_problems(catalog, min_size=min_size)]
    records, dropped = [], []
    for record in catalog.records:
        kind = box_kinds(record, min_size)  # [G]
        usable = _cut(record[((kind < 0) | (kind > _LEFT_OUT)) & ~record.ignore])
        if min(record.width, record.height) < min_image_side:
            dropped.append(_dropped(record, "image too small", f"a side under {min_image_side} px"))
        elif not (keep_empty or (~usable.crowd).any()):
            dropped.append(_dropped(record, "image without objects", "nothing to learn from"))
        else:
            records.append(usable)
    problems += dropped
    if not any((~record.crowd).any() for record in records):
        problems.append(no_objects(catalog))
    refuse_fatal(problems)
    return replace(catalog, records=tuple(records), problems=tuple(problems))


def box_problems(catalog: Catalog, *, min_size: float = 1.0) -> list[Problem]:
    """Everything that is wrong with the boxes of a catalog, box by box.

    Args:
        catalog: as read.
        min_size: smallest width and height in pixels that is used.
    """
    problems = []
    for record in catalog.records:
        kind = box_kinds(record, min_size)  # [G]
        for row in np.flatnonzero(kind >= 0).tolist():
            name, severity, advice = KINDS[int(kind[row])]
            x1, y1, x2, y2 = record.boxes[row].tolist()
            found = (
                f"x={x1:g}, y={y1:g}, width={x2 - x1:g}, height={y2 - y1:g} "
                f"in {record.path.name} of {record.width} x {record.height} px"
            )
            problems.append(
                Problem(
                    severity=severity,
                    kind=name,
                    file=catalog.source,
                    image_id=record.image_id,
                    annotation_id=int(record.annotation_ids[row]),
                    message=f"{found}; {advice}",
                )
            )
    return problems


def box_kinds(record: ImageRecord, min_size: float) -> NDArray[np.int64]:
    """What is wrong with each box of an image.

    Args:
        record: G annotations.
        min_size: smallest width and height in pixels.

    Returns:
        [G] a row of `KINDS`, the first that applies; -1 for a sound box.
    """
    if not len(record):
        return np.zeros(0, dtype=np.int64)
    boxes = record.boxes
    limit = np.array([record.width, record.height], dtype=np.float64)  # [2]
    with np.errstate(invalid="ignore"):  # NaN is the first kind
        sides = boxes[:, 2:] - boxes[:, :2]  # [G, 2]
        conditions = [
            ~np.isfinite(boxes).all(axis=1),
            (sides < 0).any(axis=1),
            (sides == 0).any(axis=1) | (record.areas <= 0),
            ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= limit)).any(axis=1),
            (sides < min_size).any(axis=1),
            ((boxes[:, :2] < -OUTSIDE) | (boxes[:, 2:] > limit + OUTSIDE)).any(axis=1),
        ]
    return np.select(conditions, list(range(len(conditions))), default=-1).astype(np.int64)


def no_objects(catalog: Catalog) -> Problem:
    """The problem of a split from which nothing can be learned."""
    return Problem(
        severity="fatal",
        kind="no objects",
        file=catalog.source,
        message=(
            f"{len(catalog)} images with {catalog.num_objects} annotations, none of which is a "
            f"usable object of the classes {list(catalog.classes)}."
        ),
    )


def _cut(record: ImageRecord) -> ImageRecord:
    """The record with its boxes cut at the border of the image."""
    limit = np.array([record.width, record.height] * 2, dtype=np.float64)  # [4]
    return replace(record, boxes=record.boxes.clip(0.0, limit))


def _dropped(record: ImageRecord, kind: str, reason: str) -> Problem:
    return Problem(
        severity="tolerated",
        kind=kind,
        file=record.path,
        image_id=record.image_id,
        message=f"{record.width} x {record.height} px, {len(record)} annotations: {reason}.",
    )
