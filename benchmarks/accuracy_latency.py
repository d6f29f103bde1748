"""Accuracy against latency of trained detectors on a CPU, as a table and a picture.

Every weights file is scored on the validation images of its data set and timed on them one by one,
in turns, from decoded pixels to boxes in pixels of the image: PyTorch, and its ONNX file of any
size. Cost is that of the largest validation image, padded.

    python benchmarks/accuracy_latency.py --picture docs/tinydet.png
        --model TinyDet-S WEIGHTS FOLDER --model FCOS-P2-R18 WEIGHTS FOLDER
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from motedet import engine
from motedet.data import Catalog, Compose, Sample, read_image
from motedet.engine.cost import count_costs
from motedet.engine.evaluate import Scoring
from motedet.engine.predict import predict_images
from motedet.engine.weights import LoadedDetector
from motedet.export.onnx_file import ExportOptions, export_onnx
from motedet.export.runtime import Model
from motedet.metrics import coco_results
from motedet.recipes import load_recipe
from motedet.report.axes import blank_axes
from motedet.report.palette import LIGHT
from motedet.structures import Detections, Size

SCORES: Final = ("AP", "AP50", "AP_vt", "AP_t", "AP_s")
CALIBRATION: Final = 64  # training images that int8 learns its ranges from
MARKS: Final = {"PyTorch": "o", "ONNX": "s", "ONNX int8": "^"}

Finder = Callable[[Tensor], Detections]


@dataclass(frozen=True)
class Record:
    """One detector in one runtime.

    Attributes:
        milliseconds: per image, median over the rounds of the mean over the images.
        mmacs: millions of multiply-adds of the largest image.
        parameters: numbers that are learnt.
        scores: by the recipe's protocol; of int8 -1 where they are not those of the weights.
    """

    name: str
    data: str
    recipe: str
    runtime: str
    milliseconds: float
    mmacs: float
    parameters: int
    scores: dict[str, float]
    threads: int


@dataclass(frozen=True)
class Trained:
    """A detector in all runtimes, and the images that it is judged by."""

    name: str
    data: str
    loaded: LoadedDetector
    catalog: Catalog
    finders: dict[str, Finder]

    @classmethod
    def of(cls, name: str, weights: Path, data: Path, *, folder: Path, threads: int) -> "Trained":
        """Export and load; files are written to the folder."""
        loaded = engine.load(weights, device="cpu")
        dataset = loaded.recipe.data.dataset
        calibration = [r.path for r in dataset.catalog(data, "train").records][:CALIBRATION]
        options = {
            "ONNX": ExportOptions(size=None),
            "ONNX int8": ExportOptions(size=None, precision="int8", calibration=calibration),
        }
        finders: dict[str, Finder] = {"PyTorch": lambda image: predict_images(loaded, [image])[0]}
        for runtime, option in options.items():
            path = folder / f"{name} {data.name} {runtime}.onnx"
            found = export_onnx(
                loaded.detector, loaded.recipe, loaded.classes, path, options=option
            )
            print(f"{path.name}: {found}", flush=True)
            finders[runtime] = by_file(Model(path, threads=threads))
        return cls(name, data.name, loaded, dataset.catalog(data, "val"), finders)

    def records(self, rounds: int, threads: int) -> list[Record]:
        """Time and score every runtime; they take turns, image by image."""
        images = [read_image(record.path) for record in self.catalog.records]
        seconds: dict[str, list[float]] = {runtime: [] for runtime in self.finders}
        results: dict[str, list[dict[str, Any]]] = {}
        for turn in range(rounds + 1):  # the first one warms up
            total = dict.fromkeys(self.finders, 0.0)
            results = {runtime: [] for runtime in self.finders}
            for image, record in zip(images, self.catalog.records, strict=True):
                for runtime, find in self.finders.items():
                    start = time.perf_counter()
                    found = find(image)
                    total[runtime] += time.perf_counter() - start
                    results[runtime] += coco_results(
                        found, record.image_id, self.catalog.category_ids
                    )
            for runtime, taken in total.items():
                seconds[runtime] += [taken / len(images)] if turn else []
        scoring = Scoring.of(self.catalog, self.loaded.recipe.protocol)
        costs = count_costs(self.loaded.detector, self._largest()).values()
        return [
            Record(
                self.name,
                self.data,
                self.loaded.recipe.name,
                runtime,
                1e3 * statistics.median(taken),
                sum(cost.macs for cost in costs) / 1e6,
                sum(cost.parameters for cost in costs),
                dict(scoring(results[runtime]).values),
                threads,
            )
            for runtime, taken in seconds.items()
        ]

    def _largest(self) -> Size:
        """Height and width of the largest network input."""
        prepare = Compose(self.loaded.recipe.data.test_transforms)
        sizes: list[Size] = []
        for record in self.catalog.records:
            pixels = prepare(Sample.of_image(read_image(record.path)), torch.Generator()).image
            sizes.append((pixels.shape[1], pixels.shape[2]))
        return max(sizes, key=lambda size: size[0] * size[1])


def by_file(model: Model) -> Finder:
    """An exported file with the signature of the others."""

    def find(image: Tensor) -> Detections:
        boxes, scores, labels = model.predict([image.permute(1, 2, 0).numpy()])[0]
        return Detections(*(torch.from_numpy(values) for values in (boxes, scores, labels)))

    return find


def with_recorded(records: Sequence[Record], path: Path, detector: str) -> list[Record]:
    """The records, those of one detector with the scores of longer trainings of its recipes."""
    known: dict[str, dict[str, float]] = {}
    for run in json.loads(path.read_text()):
        own = getattr(load_recipe(run["recipe"]).model, "assigner", None)
        if own is not None and run["assigner"] == own.kind:
            known.setdefault(run["recipe"], {name: run[name] for name in SCORES})
    unknown = dict.fromkeys(SCORES, -1.0)
    return [
        replace(r, scores=unknown if "int8" in r.runtime else known[r.recipe])
        if r.name == detector
        else r
        for r in records
    ]


def table(records: Sequence[Record]) -> str:
    """One row per detector and runtime."""
    head = ("data", "detector", "runtime", "ms", "MMACs", "M parameters", *SCORES)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for r in records:
        cells = [r.data, r.name, r.runtime, f"{r.milliseconds:.1f}", f"{r.mmacs:,.0f}"]
        cells.append(f"{r.parameters / 1e6:.2f}")
        cells += [f"{r.scores[s]:.3f}" if r.scores[s] >= 0 else "-" for s in SCORES]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(records: Sequence[Record], path: Path) -> None:
    """AP over latency: a line per detector and data set, a mark per runtime."""
    figure, axes = blank_axes(
        f"Accuracy and latency, {records[0].threads} CPU thread(s)", LIGHT, width=6.4
    )
    for colour, name in zip(LIGHT.lines, dict.fromkeys(r.name for r in records), strict=False):
        for data in dict.fromkeys(r.data for r in records):
            mine = [r for r in records if (r.name, r.data) == (name, data) and r.scores["AP"] >= 0]
            ms, ap = [r.milliseconds for r in mine], [r.scores["AP"] for r in mine]
            axes.plot(ms, ap, color=colour, linewidth=1.4, zorder=2)
            for r in mine:
                axes.plot(r.milliseconds, r.scores["AP"], MARKS[r.runtime], color=colour, zorder=3)
            if mine:
                axes.annotate(
                    f"{name}, {data}",
                    (ms[0], ap[0]),
                    xytext=(0, 9),
                    textcoords="offset points",
                    ha="center",
                    color=colour,
                    fontsize=8.5,
                )
    axes.set_xscale("log")
    ticks = [10, 20, 50, 100, 200, 500, 1000]
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.margins(x=0.2, y=0.2)
    axes.set_xlabel("milliseconds per image (circle PyTorch, square ONNX, triangle int8)")
    axes.set_ylabel("AP")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", action="append", nargs=3, required=True, metavar=("NAME", "WEIGHTS", "DATA")
    )
    parser.add_argument(
        "--recorded",
        nargs=2,
        metavar=("FILE", "NAME"),
        help="take the scores of this detector from training.json: its weights are gone",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--picture", type=Path, help="write the picture here")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, weights, data in args.model:
            trained = Trained.of(
                name, Path(weights), Path(data), folder=Path(folder), threads=args.threads
            )
            records += trained.records(args.rounds, args.threads)
    if args.recorded:
        records = with_recorded(records, Path(args.recorded[0]), args.recorded[1])
    print(table(records))
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in records], indent=1) + "\n")
    if args.picture:
        picture(records, args.picture)


if __name__ == "__main__":
    main()
