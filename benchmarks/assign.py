"""Time and memory of the assigners against their published dense forms, on one CPU thread.

Dense means what the published code computes: objects x priors tables and a loop over the objects
(`tests/dense_assigners.py`, `tests/dense_predicted.py`, `tests/dense_gaussian.py`). Objects are
AI-TOD-like, images 800 x 800. Gaussian Assignment also draws the heat maps and box weights, except
for heads that need the labels and boxes of the cells only (`gaussian_fcos`, `gaussian_anchors`).
Seconds are CPU seconds. Assigners that look at predictions get random ones of the objects' sizes,
for 8 classes; the dense form whose results must be equal rounds from float64 and is not timed.

    python benchmarks/assign.py [--objects N ...] [--cases NAME ...] [--json FILE] [--no-dense]
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from motedet.assign import (
    ATSS,
    AnyAssigner,
    DynamicSoftLabel,
    FCOSAssigner,
    GaussianAssigner,
    GaussianMaps,
    Hierarchical,
    MaxIoU,
    PredictionAware,
    SimOTA,
    TaskAligned,
)
from motedet.priors import Anchors, AnyPriors, Points, PriorGrid, ReceptiveFields
from motedet.structures import Assignment, PackedTargets, Predictions, Targets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from dense_assigners import dense_assign
from dense_gaussian import dense_gaussian
from dense_predicted import dense_predicted

Record = dict[str, str | int | float | bool | None]

IMAGE_SIDE = 800
NUM_CLASSES = 8
RUNS = 9


@dataclass(frozen=True)
class Case:
    """An assigner with the priors of its published setting.

    Attributes:
        name: of the record.
        assigner: what is measured.
        priors: what it assigns.
        dense_objects: the dense form, which needs some 30 bytes for each object and prior, is not
            run with more objects than these.
        draws_maps: whether the heat maps of Gaussian Assignment are drawn too.
    """

    name: str
    assigner: AnyAssigner
    priors: AnyPriors
    dense_objects: int = 3000
    draws_maps: bool = False

    def grid(self, side: int) -> PriorGrid:
        """Priors of a square image of `side` pixels."""
        return self.priors([(-(-side // s), -(-side // s)) for s in self.priors.strides])

    def call(
        self, grid: PriorGrid, targets: PackedTargets
    ) -> Callable[[], Assignment | GaussianMaps]:
        """What is measured."""
        rule = self.assigner
        if self.draws_maps and isinstance(rule, GaussianAssigner):
            return lambda: rule.maps(grid, targets, NUM_CLASSES)
        if isinstance(rule, PredictionAware):
            seen = predictions(grid)
            return lambda: rule(grid, targets, seen)
        return lambda: rule(grid, targets)

    def dense(
        self, grid: PriorGrid, targets: PackedTargets
    ) -> tuple[float, torch.Tensor | GaussianMaps]:
        """Seconds of the dense form, and what it must give."""
        rule = self.assigner
        start = time.process_time()
        if isinstance(rule, GaussianAssigner):
            maps = dense_gaussian(rule, grid, targets, NUM_CLASSES)
            took = time.process_time() - start
            return took, maps if self.draws_maps else maps.match.gt_index
        if isinstance(rule, PredictionAware):
            seen = predictions(grid)
            start = time.process_time()
            dense_predicted(rule, grid, targets, seen, published=True)
            took = time.process_time() - start
            return took, dense_predicted(rule, grid, targets, seen)[0]
        expected = dense_assign(rule, grid, targets)
        return time.process_time() - start, expected


GAUSSIAN_POINTS = Points(strides=(4,), offset=0.0)
CASES = (
    Case("hierarchical", Hierarchical(similarity="kl", topk=(3, 1), ratio=0.9), ReceptiveFields()),
    Case(
        "hierarchical_rpn",
        Hierarchical(similarity="kl", topk=(3, 1), ratio=0.9),
        ReceptiveFields(strides=(4, 8, 16, 32, 64), ratios=(0.5, 1.0, 2.0), offset=0.0),
        dense_objects=500,
    ),
    Case("max_iou", MaxIoU(), Anchors()),
    Case("atss", ATSS(), Anchors(octave_base_scale=8.0, scales_per_octave=1, ratios=(1.0,))),
    Case("fcos", FCOSAssigner(), Points()),
    Case(
        "tal",
        TaskAligned(),
        Anchors(octave_base_scale=8.0, scales_per_octave=1, ratios=(1.0,)),
    ),
    Case("simota", SimOTA(), Points()),
    Case("simota_p2", SimOTA(), Points(strides=(4, 8, 16, 32, 64)), dense_objects=1500),
    Case("soft_label", DynamicSoftLabel(), Points(offset=0.0)),
    Case("gaussian_ttf", GaussianAssigner(), GAUSSIAN_POINTS, draws_maps=True),
    Case(
        "gaussian_mit",
        GaussianAssigner(alpha=0.54, inclusive=False),
        GAUSSIAN_POINTS,
        draws_maps=True,
    ),
    Case("gaussian_fcos", GaussianAssigner(pos_thresh=0.01), Points(strides=(4,))),
    # RetinaNet's and ATSS's head learn from the same cells.
    Case(
        "gaussian_anchors",
        GaussianAssigner(),
        Anchors(strides=(4,), scales=(3.0,), ratios=(1.0,)),
    ),
)


def objects(count: int, side: int) -> PackedTargets:
    """One image with objects of AI-TOD's sizes: side ~ N(12.8, 5.9), at least 2 px."""
    generator = torch.Generator().manual_seed(count)
    length = (12.8 + 5.9 * torch.randn(count, generator=generator)).clamp(min=2)
    aspect = (0.3 * torch.randn(count, generator=generator)).exp().sqrt()
    sides = torch.stack((length * aspect, length / aspect), dim=1)
    center = torch.rand(count, 2, generator=generator) * side
    boxes = torch.cat((center - sides / 2, center + sides / 2), dim=1).clamp(0, side)
    labels = torch.randint(NUM_CLASSES, (count,), generator=generator)
    return PackedTargets.pack([Targets.of(boxes, labels, (side, side))])


def predictions(grid: PriorGrid) -> Predictions:
    """One image: boxes of the objects' sizes around the priors, and low scores."""
    generator = torch.Generator().manual_seed(grid.num_priors)
    noise = torch.randn(grid.num_priors, 4, generator=generator)
    center = grid.points() + 0.5 * noise[:, :2] * grid.strides()[:, None]
    half = (0.4 * noise[:, 2:]).exp() * 6.4
    logits = 1.5 * torch.randn(1, grid.num_priors, NUM_CLASSES, generator=generator) - 3
    boxes = torch.cat((center - half, center + half), dim=1)
    return Predictions(logits.sigmoid(), logits, boxes[None])


def seconds(call: Callable[[], object], runs: int) -> float:
    """Median CPU time of the one thread: other load on the machine does not count."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def extra_megabytes(call: Callable[[], object]) -> float | None:
    """Peak of the process's resident memory above what it has before; Linux only."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide the peak
    reset.write_text("5")
    before = _kilobytes(status.read_text(), "VmRSS")
    result = call()
    peak = _kilobytes(status.read_text(), "VmHWM")
    del result
    return max(0, peak - before) / 1024


def _kilobytes(status: str, name: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1])


def measure(case: Case, count: int, *, dense: bool) -> Record:
    grid, targets = case.grid(IMAGE_SIDE), objects(count, IMAGE_SIDE)
    call = case.call(grid, targets)
    answer = call()
    took = seconds(call, RUNS)
    extra = extra_megabytes(call)
    record: Record = {"name": case.name, "objects": count, "priors": grid.num_priors}
    record["seconds"] = took
    record |= {"dense_seconds": None, "ratio": None, "extra_mb": extra, "equal": None}
    if dense and count <= case.dense_objects:
        dense_took, expected = case.dense(grid, targets)
        record |= {"dense_seconds": dense_took, "ratio": dense_took / took}
        record["equal"] = same(answer, expected)
    return record


def same(answer: Assignment | GaussianMaps, expected: torch.Tensor | GaussianMaps) -> bool:
    """Whether the owners are equal, and the maps, if any, but for float32 rounding."""
    if isinstance(answer, GaussianMaps) and isinstance(expected, GaussianMaps):
        return (
            torch.equal(answer.match.gt_index, expected.match.gt_index)
            and torch.allclose(answer.heatmap, expected.heatmap, rtol=0, atol=1e-6)
            and torch.allclose(answer.box_weight, expected.box_weight, rtol=1e-5, atol=1e-6)
        )
    if isinstance(answer, Assignment) and isinstance(expected, torch.Tensor):
        return torch.equal(answer.gt_index, expected)
    return False


def measure_side(case: Case, count: int, side: int) -> Record:
    """Time at a fixed number of objects in images of other sizes."""
    grid, targets = case.grid(side), objects(count, side)
    call = case.call(grid, targets)
    call()
    took = seconds(call, RUNS)
    return {
        "name": f"{case.name}_by_image_side",
        "objects": count,
        "image_side": side,
        "priors": grid.num_priors,
        "seconds": took,
    }


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [v for v in info.read_text().splitlines() if v.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores{load}, {torch.get_num_threads()} thread, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def show(record: Record) -> None:
    def number(key: str, digits: int, scale: float = 1.0) -> str:
        value = record.get(key)
        return "-" if value is None else f"{float(value) * scale:.{digits}f}"

    print(
        f"{record['name']:<18}{record['objects']:>8}{number('seconds', 2, 1e3):>10}"
        f"{number('dense_seconds', 3):>10}{number('ratio', 0):>8}{number('extra_mb', 1):>10}"
        f"{record['equal']!s:>7}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, nargs="+", default=[100, 500, 1500, 3000])
    parser.add_argument("--cases", nargs="+", default=[case.name for case in CASES])
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--no-dense", action="store_true", help="do not run the dense forms")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    description = machine()
    print(description)
    heads = (
        ("objects", 8),
        ("ms", 10),
        ("dense s", 10),
        ("ratio", 8),
        ("extra MB", 10),
        ("equal", 7),
    )
    print(f"{'name':<18}" + "".join(head.rjust(width) for head, width in heads))
    records = []
    chosen = [case for case in CASES if case.name in options.cases]
    for case in chosen:
        for count in options.objects:
            records.append(measure(case, count, dense=not options.no_dense))
            show(records[-1])
    count = options.objects[len(options.objects) // 2]
    sides = [400, 800, 1600, 3200]
    print(f"\nms with {count} objects, by side of the image in pixels")
    print(f"{'name':<18}" + "".join(f"{side:>10}" for side in sides))
    for case in chosen:
        row = [measure_side(case, count, side) for side in sides]
        print(f"{case.name:<18}" + "".join(f"{float(r['seconds'] or 0) * 1e3:>10.2f}" for r in row))
        records += row
    if options.json:
        for record in records:
            record["machine"] = description
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    wrong = [r for r in records if r.get("equal") is False]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
