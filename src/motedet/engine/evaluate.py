"""From a detector and a catalog to scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from motedet.data import Batch, Catalog, DetectionDataset, coco_dict
from motedet.engine.class_order import order_classes
from motedet.engine.loaders import ordered_loader
from motedet.engine.predict import to_original
from motedet.engine.tiles import tiled_results
from motedet.engine.weights import LoadedDetector, load
from motedet.errors import DataError
from motedet.metrics import AnyProtocol, Scores, coco_results
from motedet.structures import Detections

Result = dict[str, Any]

SHOWN: Final = ("AP", "AP50", "AP50_tiny")  # while training; others go to the log


@dataclass(frozen=True, slots=True)
class Scoring:
    """The ground truth of some images, and the protocol by which detections on them are scored.

    Attributes:
        ground_truth: COCO dictionary.
        category_ids: id of each class, in label order.
        protocol: how to score.
    """

    ground_truth: Mapping[str, Any]
    category_ids: tuple[int, ...]
    protocol: AnyProtocol

    @classmethod
    def of(cls, catalog: Catalog, protocol: AnyProtocol) -> "Scoring":
        """The scoring of a catalog."""
        return cls(coco_dict(catalog), catalog.category_ids, protocol)

    def __call__(self, results: Sequence[Result]) -> Scores:
        """Scores of COCO results (boxes in xywh, pixels of the image files)."""
        return self.protocol.score(self.ground_truth, list(results))


def evaluate(
    weights: Path | str | LoadedDetector,
    data: Path | str,
    *,
    protocol: AnyProtocol | None = None,
    split: str = "val",
    batch_size: int | None = None,
    workers: int = 0,
) -> tuple[Scores, list[Result]]:
    """Score weights on a data folder.

    Args:
        weights: a weights file of ours, or what `load` made of one.
        data: the folder that the recipe's data set expects.
        protocol: how to score; by default as the recipe says.
        split: "val" or "train".
        batch_size: images (with `test_tiles`, windows) per forward pass; by default the recipe's.
        workers: processes that load images.

    Returns:
        The scores, and the detections as COCO results.

    Raises:
        DataError: if the folder is not as the data set expects, or there is no such split.
        CheckpointError: if the weights do not fit their recipe.
    """
    if split not in ("train", "val"):
        raise DataError(f"the split must be train or val; found {split!r}.")
    loaded = weights if isinstance(weights, LoadedDetector) else load(weights)
    recipe = loaded.recipe
    catalog = recipe.data.dataset.catalog(Path(data), "train" if split == "train" else "val")
    catalog = order_classes(catalog, loaded.classes)
    size = batch_size or recipe.train.batch_size
    if recipe.test_tiles is None:
        results = _whole_results(loaded, catalog, batch_size=size, workers=workers)
    else:
        results = tiled_results(loaded, catalog, recipe.test_tiles, batch_size=size)
    scoring = Scoring.of(catalog, protocol or recipe.protocol)
    return scoring(results), results


def _whole_results(
    loaded: LoadedDetector, catalog: Catalog, *, batch_size: int, workers: int
) -> list[Result]:
    """COCO results of images that are looked at at once."""
    dataset = DetectionDataset(catalog, loaded.recipe.data.test_transforms, seed=0)
    results: list[Result] = []
    for batch in ordered_loader(dataset, batch_size=batch_size, workers=workers):
        detections = loaded.predict_batch(batch.images, batch.image_sizes)
        results += batch_results(batch, detections, catalog.category_ids)
    return results


def batch_results(
    batch: Batch, detections: Sequence[Detections], category_ids: Sequence[int]
) -> list[Result]:
    """COCO results of a batch, in pixels of the image files."""
    results: list[Result] = []
    for i, found in enumerate(detections):
        original = to_original(found, batch.image_sizes[i], batch.original_sizes[i])
        results += coco_results(original, batch.image_ids[i], category_ids)
    return results
