"""Scoring against pycocotools on a large synthetic result list, and TinyPerson's against loops.

Both evaluate the same dictionaries in one process, in turns, with one thread; times are its
processor seconds. For AI-TOD,
pycocotools is given that protocol's area ranges and caps. It has no optimal LRP: ours includes it
in `aitod` and leaves it out in `aitod_without_lrp`. TinyPerson's 42 numbers on `--tiny-images`
images of one class are compared with the loops over images and detections in the tests.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import contextlib
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from motedet.metrics import AITODProtocol, COCOProtocol, TinyPersonProtocol
from motedet.metrics.aitod import AREAS as AITOD_AREAS
from motedet.metrics.coco import AREAS as COCO_AREAS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from plain_tinyperson import plain_precision

T = TypeVar("T")
Entry = dict[str, Any]

CLASSES: Final = 8
SIDE: Final = 800
TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class Case:
    """A protocol of ours, and what pycocotools is told so that it does the same."""

    name: str
    protocol: COCOProtocol | AITODProtocol
    areas: tuple[tuple[float, float], ...]
    suffixes: tuple[str, ...]


CASES: Final = (
    Case("coco", COCOProtocol(), COCO_AREAS, ("", "_s", "_m", "_l")),
    Case("aitod", AITODProtocol(), AITOD_AREAS, ("", "_vt", "_t", "_s", "_m")),
    Case(
        "aitod_without_lrp",
        AITODProtocol(with_lrp=False),
        AITOD_AREAS,
        ("", "_vt", "_t", "_s", "_m"),
    ),
)


@dataclass(frozen=True)
class Record:
    """One line of the result; times are medians of processor seconds of the one thread."""

    name: str
    images: int
    objects: int
    detections: int
    seconds: float
    pycocotools_seconds: float
    ratio: float
    equal: bool
    max_difference: float
    machine: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="for COCO and AI-TOD; 0: none")
    parser.add_argument("--objects", type=int, default=50, help="per image")
    parser.add_argument("--detections", type=int, default=300, help="per image")
    parser.add_argument("--tiny-images", type=int, default=200, help="for TinyPerson; 0: none")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()

    print(machine())
    records = against_pycocotools(options) if options.images else []
    if options.tiny_images:
        records.append(against_loops(options))
    if options.json:
        options.json.write_text(json.dumps(records, indent=2) + "\n")


def against_pycocotools(options: argparse.Namespace) -> list[Entry]:
    """The records of all cases."""
    truth, found = scenes(
        options.images, objects=options.objects, detections=options.detections, seed=options.seed
    )
    print(
        f"{options.images} images x {options.objects} objects x {options.detections} detections, "
        f"{CLASSES} classes, {options.repeats} turn(s)"
    )
    print(f"{'name':<20}{'seconds':>10}{'pycocotools':>13}{'ratio':>8}{'max difference':>17}")
    records = []
    warm, warm_found = scenes(5, objects=5, detections=5, seed=options.seed)
    for case in CASES:
        compare(case, warm, found=warm_found, repeats=1)
    for case in CASES:
        seconds, pycocotools_seconds, difference = compare(
            case, truth, found=found, repeats=options.repeats
        )
        record = Record(
            name=case.name,
            images=options.images,
            objects=options.objects,
            detections=options.detections,
            seconds=seconds,
            pycocotools_seconds=pycocotools_seconds,
            ratio=pycocotools_seconds / seconds,
            equal=difference <= TOLERANCE,
            max_difference=difference,
            machine=machine(),
        )
        records.append(asdict(record))
        print(
            f"{record.name:<20}{record.seconds:>10.2f}{record.pycocotools_seconds:>13.2f}"
            f"{record.ratio:>7.1f}x{record.max_difference:>17.1e}",
            flush=True,
        )
    return records


def against_loops(options: argparse.Namespace) -> Entry:
    """The record of TinyPerson's AP and AR; seconds of the array form are a median of five."""
    truth, found = scenes(
        options.tiny_images,
        objects=options.objects,
        detections=options.detections,
        seed=options.seed,
    )
    truth = truth | {
        "categories": truth["categories"][:1],
        "annotations": [entry | {"category_id": 1} for entry in truth["annotations"]],
    }
    flag_some(truth["annotations"], seed=options.seed)
    found = [entry | {"category_id": 1} for entry in found]
    protocol = TinyPersonProtocol(miss_rate=None)
    runs = [timed(lambda: protocol.score(truth, found)) for _ in range(5)]
    with_misses, _ = timed(lambda: TinyPersonProtocol().score(truth, found))
    seconds = statistics.median(seconds for seconds, _ in runs)
    loop_seconds, expected = timed(
        lambda: plain_precision(
            truth, found, max_det=protocol.max_det, iod_threshold=protocol.iod_threshold
        )
    )
    values = runs[0][1].values
    difference = max(abs(values[name] - float(value)) for name, value in expected.items())
    print(
        f"tinyperson, {options.tiny_images} images, one class: {seconds:.2f} s, with miss rate "
        f"{with_misses:.2f} s, loops {loop_seconds:.2f} s, {loop_seconds / seconds:.1f}x, "
        f"max difference {difference:.1e}"
    )
    return {
        "name": "tinyperson",
        "images": options.tiny_images,
        "objects": options.objects,
        "detections": options.detections,
        "seconds": seconds,
        "seconds_with_miss_rate": with_misses,
        "loop_seconds": loop_seconds,
        "ratio": loop_seconds / seconds,
        "equal": difference <= TOLERANCE,
        "max_difference": difference,
        "machine": machine(),
    }


def flag_some(annotations: list[Entry], *, seed: int) -> None:
    """Mark a tenth of the objects as ignored and as many as uncertain, as in TinyPerson."""
    generator = np.random.default_rng(seed)
    for key in ("ignore", "uncertain"):
        for entry, flag in zip(annotations, generator.random(len(annotations)) < 0.1, strict=True):
            entry[key] = int(flag)


def compare(
    case: Case, truth: Entry, *, found: list[Entry], repeats: int
) -> tuple[float, float, float]:
    """Seconds of ours, of pycocotools, and the largest difference of a number that both have."""
    ours: list[float] = []
    theirs: list[float] = []
    differences: list[float] = []
    for turn in range(repeats):
        if turn % 2:  # whoever goes second finds memory that the first has already claimed
            reference = timed(lambda: pycocotools(case, truth, found))
        seconds, scores = timed(lambda: case.protocol.score(truth, found))
        ours.append(seconds)
        if not turn % 2:
            reference = timed(lambda: pycocotools(case, truth, found))
        seconds, evaluated = reference
        theirs.append(seconds)
        expected = numbers(case, evaluated)
        differences += [abs(scores.values[name] - value) for name, value in expected.items()]
    return statistics.median(ours), statistics.median(theirs), max(differences)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds: with one thread those of a free machine, also when others are at work."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def pycocotools(
    case: Case, truth: Entry, found: list[Entry]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision [T, R, K, A, M] and recall [T, K, A, M], as a user of pycocotools gets them."""
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        # It writes into its entries, so it gets copies of them; ours needs none.
        index.dataset = truth | {"annotations": [dict(entry) for entry in truth["annotations"]]}
        index.createIndex()
        evaluation = COCOeval(index, index.loadRes([dict(entry) for entry in found]), "bbox")
        evaluation.params.areaRng = [list(area) for area in case.areas]
        evaluation.params.areaRngLbl = [str(area) for area in case.areas]
        evaluation.params.maxDets = list(case.protocol.max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def numbers(
    case: Case, evaluated: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> dict[str, float]:
    """The summary of metrics in our names, by pycocotools' rule and without our code."""
    precision, recall = evaluated
    values = {"AP50": mean(precision[0, ..., 0, -1]), "AP75": mean(precision[5, ..., 0, -1])}
    for a, suffix in enumerate(case.suffixes):
        values[f"AP{suffix}"] = mean(precision[..., a, -1])
        if suffix:
            values[f"AR{suffix}"] = mean(recall[..., a, -1])
    for m, cap in enumerate(case.protocol.max_dets):
        values[f"AR@{cap}"] = mean(recall[..., 0, m])
    return values


def mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else -1.0


def scenes(images: int, *, objects: int, detections: int, seed: int) -> tuple[Entry, list[Entry]]:
    """Tiny objects, and detections of which half are near an object and half anywhere."""
    generator = np.random.default_rng(seed)
    annotations: list[Entry] = []
    found: list[Entry] = []
    for image_id in range(1, images + 1):
        xy = generator.uniform(0, SIDE - 20, (objects, 2))
        wh = np.exp(generator.normal(np.log(12), 0.5, (objects, 2)))
        category = generator.integers(1, CLASSES + 1, objects)
        for box, k in zip(np.hstack([xy, wh]).round(2).tolist(), category.tolist(), strict=True):
            area = box[2] * box[3]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": k,
                    "bbox": box,
                    "area": area,
                    "iscrowd": 0,
                }
            )
        found += image_detections(
            generator, image_id, xy=xy, wh=wh, category=category, n=detections
        )
    truth = {
        "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(1, images + 1)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    return truth, found


def image_detections(
    generator: np.random.Generator,
    image_id: int,
    *,
    xy: NDArray[np.float64],
    wh: NDArray[np.float64],
    category: NDArray[np.int64],
    n: int,
) -> list[Entry]:
    near = generator.integers(0, len(xy), n)
    random = (generator.random(n) < 0.5)[:, None]
    sizes = np.exp(generator.normal(np.log(12), 0.5, (n, 2)))
    shaken = wh[near] * np.exp(generator.normal(0, 0.15, (n, 2)))
    corners = np.where(
        random,
        generator.uniform(0, SIDE - 20, (n, 2)),
        xy[near] + generator.normal(0, 1.5, (n, 2)),
    )
    boxes = np.hstack([corners, np.where(random, sizes, shaken)]).round(2)
    classes = np.where(random[:, 0], generator.integers(1, CLASSES + 1, n), category[near])
    scores = (generator.random(n) * 0.7 + np.where(random[:, 0], 0, 0.3)).round(5)
    rows = zip(boxes.tolist(), classes.tolist(), scores.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": k, "bbox": box, "score": score}
        for box, k, score in rows
    ]


def machine() -> str:
    """Processor, cores, system and the versions that matter."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "faster-coco-eval", "pycocotools"))
    return (
        f"{model}, {os.cpu_count()} cores (1 thread used), {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


if __name__ == "__main__":
    main()
