"""A data set resized image by image to the object sizes of another, on disk."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from motedet.data.check import CheckReport, check_dataset
from motedet.data.formats import coco_dict
from motedet.data.records import Catalog, refuse_fatal
from motedet.data.scale_match.histogram import SizeBins, SizeHistogram, Uniform
from motedet.data.scale_match.monotone import MonotoneMap
from motedet.data.scale_match.resizing import OnImage, Resized, Rule, resize_images
from motedet.data.scale_match.scaling import OutOfRange, ScaleLimits, draw_scale
from motedet.data.scale_match.sizes import (
    ObjectSizes,
    catalog_sizes,
    join_sizes,
    largest_gap,
    read_sizes,
)
from motedet.errors import DataError
from motedet.files import replacing_folder, write_json

SUMMARY: Final = "scale_match.json"


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a data set is resized to another's sizes.

    The measures are those that give the wanted sizes; `plus_one=True` and `source_per_image=False`
    are the published ones.

    Attributes:
        monotone: keep the order of sizes rather than draw them.
        bins: how the target's sizes are counted.
        scale_range: smallest and largest factor.
        default_scale: of images without objects, and of those whose objects would all vanish; by
            default the ratio of the median sizes, within the range.
        out_of_range: a factor beyond the range becomes the nearer end, or `default_scale`.
        max_tries: sizes drawn for one image until its factor is in range.
        plus_one: measure an image's objects as a pixel wider and higher than their boxes.
        source_per_image: with `monotone`, compare an image's mean with the means of the images
            rather than with the sizes of single objects.
        antialias: average over the area where images shrink; the published code does not.
        seed: of what is drawn; an image's draws depend on it, its split and its place therein.
    """

    monotone: bool = False
    bins: SizeBins = field(default_factory=SizeBins)
    scale_range: tuple[float, float] = (0.1, 1.0)
    default_scale: float | None = None
    out_of_range: OutOfRange = "clip"
    max_tries: int = 5
    plus_one: bool = False
    source_per_image: bool = True
    antialias: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        _ = self.limits(1.0)
        if self.max_tries < 1:
            raise ValueError(f"max_tries must be at least 1; got {self.max_tries}.")

    def limits(self, default_scale: float) -> ScaleLimits:
        """How far images may be resized; `default_scale` is used if none was given."""
        return ScaleLimits(
            default_scale=default_scale if self.default_scale is None else self.default_scale,
            scale_range=self.scale_range,
            out_of_range=self.out_of_range,
            plus_one=self.plus_one,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Matched:
    """What was written.

    Attributes:
        splits: name to the new images, as they can be read back.
        source: the objects before.
        target: the objects of the target.
        matched: the objects after.
        outcomes: number of images by what happened to them.
        left_out: objects and regions that became too small.
    """

    splits: Mapping[str, Catalog]
    source: ObjectSizes
    target: ObjectSizes
    matched: ObjectSizes
    outcomes: Mapping[str, int]
    left_out: int

    @property
    def num_images(self) -> int:
        """Images of all splits."""
        return sum(len(catalog) for catalog in self.splits.values())

    def summary(self) -> dict[str, object]:
        """Numbers for `scale_match.json`: sizes in pixels, shares in 0-1."""
        named = {"source": self.source, "target": self.target, "matched": self.matched}
        return {
            "images": self.num_images,
            "objects": {name: len(found) for name, found in named.items()},
            "left_out": self.left_out,
            "median_size": {name: found.median for name, found in named.items()},
            "largest_gap": {
                "before": largest_gap(self.source, self.target),
                "after": largest_gap(self.matched, self.target),
            },
            "outcomes": dict(self.outcomes),
            "share_out_of_range": self.outcomes.get("out of range", 0) / self.num_images,
        }


def match_folder(
    source: Path,
    target: Path,
    out: Path,
    matching: Matching,
    *,
    force: bool = False,
    on_image: OnImage | None = None,
) -> Matched:
    """Write a data set whose objects are as large as another's.

    Images become PNG files in `images/`, splits the COCO files `annotations/<split>.json`;
    parameters and statistics go to `scale_match.json`. The folder appears when all is written.

    Args:
        source: data folder of any known format, or a COCO file; all its splits are written.
        target: data folder, of which only the training split counts if it has one; or a COCO file,
            whose images are not needed.
        out: folder to write.
        matching: how.
        force: replace a folder that was written by this.
        on_image: told how many images are done, and of how many.

    Raises:
        DataError: if the source cannot be used as it is, one of both has no objects, or `out`
            exists or cannot be written.
    """
    _check_place(out, source, force=force)
    checked = check_dataset(source)
    refuse_fatal(checked.problems)
    before, goal = _sizes_of(checked), _target_sizes(target)
    limits = matching.limits(_ratio(before, goal, matching.scale_range))
    histogram = matching.bins(goal.sizes)
    rule = _rule(matching, before, histogram, limits)
    try:
        with replacing_folder(out) as folder:
            resized = resize_images(
                _named_splits(checked),
                folder / "images",
                rule=rule,
                limits=limits,
                seed=matching.seed,
                antialias=matching.antialias,
                on_image=on_image,
            )
            for name, catalog in resized.splits.items():
                write_json(folder / "annotations" / f"{name}.json", coco_dict(catalog))
            matched = _gathered(resized, checked, goal, out)
            parameters = asdict(matching) | {"default_scale": limits.default_scale}
            write_json(
                folder / SUMMARY,
                {"source": str(source), "target": str(target), "parameters": parameters}
                | matched.summary()
                | {"histogram": histogram.as_dict()},
            )
    except OSError as error:
        raise DataError(
            f"{out}: the data set cannot be written there ({error.strerror or error})."
        ) from error
    return matched


def _rule(
    matching: Matching, before: ObjectSizes, histogram: SizeHistogram, limits: ScaleLimits
) -> Rule:
    """Mean size of an image's objects, and random numbers, to the factor that is wanted."""
    if matching.monotone:
        sizes = before.per_image() if matching.source_per_image else before.sizes
        mapped = MonotoneMap.between(sizes, histogram)
        return lambda mean, _: mapped(mean) / mean

    def drawn(mean: float, uniform: Uniform) -> float:
        return draw_scale(
            histogram, mean, uniform=uniform, limits=limits, max_tries=matching.max_tries
        )

    return drawn


def _gathered(resized: Resized, checked: CheckReport, goal: ObjectSizes, out: Path) -> Matched:
    """What was written, with the paths that it will have."""
    return Matched(
        splits={name: _moved(catalog, out, name) for name, catalog in resized.splits.items()},
        source=_all_sizes(checked.catalogs),
        target=goal,
        matched=_all_sizes(resized.splits.values()),
        outcomes=dict(Counter(resized.outcomes).most_common()),
        left_out=resized.left_out,
    )


def _moved(catalog: Catalog, out: Path, name: str) -> Catalog:
    """A split where it lies in the end."""
    records = (replace(r, path=out / "images" / r.path.name) for r in catalog.records)
    return replace(catalog, records=tuple(records), source=out / "annotations" / f"{name}.json")


def _named_splits(checked: CheckReport) -> dict[str, Catalog]:
    """The splits under names that a data folder has: something undivided is for training."""
    splits = [(s.name, s.catalog) for s in checked.splits if s.catalog is not None]
    if len(splits) > 1 or any(word in splits[0][0].lower() for word in ("train", "val")):
        return dict(splits)
    return {"train": splits[0][1]}


def _target_sizes(path: Path) -> ObjectSizes:
    """The sizes that are wanted.

    Raises:
        DataError: if there are none.
    """
    if path.suffix.lower() == ".json" and path.is_file():
        return read_sizes(path)
    checked = check_dataset(path)
    if not checked.catalogs:
        refuse_fatal(checked.problems)
    return _sizes_of(checked)


def _sizes_of(checked: CheckReport) -> ObjectSizes:
    """Sizes of the training split, or of everything if there is none.

    Raises:
        DataError: if there are none.
    """
    train = [s.catalog for s in checked.splits if s.name == "train" and s.catalog is not None]
    found = _all_sizes(train or checked.catalogs)
    if not len(found):
        raise DataError(
            f"{checked.path}: no objects whose sizes could be matched; expected boxes of a "
            "positive area that are neither crowds nor marked `ignore`."
        )
    return found


def _all_sizes(catalogs: Iterable[Catalog]) -> ObjectSizes:
    return join_sizes([catalog_sizes(catalog) for catalog in catalogs])


def _ratio(before: ObjectSizes, goal: ObjectSizes, scale_range: tuple[float, float]) -> float:
    """The factor that brings one median to the other, within the range."""
    return float(np.clip(goal.median / before.median, *scale_range))


def _check_place(out: Path, source: Path, *, force: bool) -> None:
    """Refuse to write over something that is not ours or not to be replaced.

    Raises:
        DataError: naming it.
    """
    home, origin = out.resolve(), source.resolve()
    if home == origin or home in origin.parents:
        raise DataError(f"{out}: holds the data set to match; choose another folder to write.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SUMMARY).is_file():
        raise DataError(f"{out}: exists and is no scale-matched data set; choose another folder.")
    if not force:
        raise DataError(
            f"{out}: exists already; choose another folder, or replace it with --force."
        )
