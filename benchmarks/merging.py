"""Merging of 200,000 boxes that the windows of one image saw, against torchvision.

Two crowds of 8 classes on an image of 20,000 px: objects all over it, each seen once, and 20,000
objects seen ten times each. A fifth of the sightings are cut off at a seam. One thread, processor
time, in turns. torchvision has no rule for seams; `seams` is held against dense tables of the cut
boxes and the whole ones, followed by torchvision's suppression.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from motedet.geometry.merge import AnyMerge, PlainMerge, SeamMerge, Sightings

T = TypeVar("T")

CLASSES: Final = 8
SIDE: Final = 20_000
CUT: Final = 0.2  # share of the sightings
STEP: Final = 540  # of windows
ROWS: Final = 2048  # of a dense table at once
NOTE: Final = "the machine was shared: processor seconds of one thread"


@dataclass(frozen=True)
class Record:
    """One line of the result; times are processor seconds, ours a median.

    The reference is torchvision's suppression; for `seams` after the dense tables.
    """

    crowd: str
    rule: str
    boxes: int
    kept: int
    seconds: float
    reference_seconds: float
    ratio: float
    equal: bool
    repeats: int
    machine: str
    note: str


def crowd(count: int, *, seen: int) -> Sightings:
    """Sightings of objects of about 16 px.

    Args:
        count: of the sightings.
        seen: how often each object is seen, each time a little differently.
    """
    generator = torch.Generator().manual_seed(0)
    objects = count // seen
    centre = torch.rand(objects, 2, generator=generator) * SIDE
    side = (16 + 6 * torch.randn(objects, 2, generator=generator)).clamp(min=3)
    label = torch.randint(CLASSES, (objects,), generator=generator)
    which = torch.arange(objects).repeat(seen)  # [N]
    shift = 0.08 * side[which] * torch.randn(count, 2, generator=generator) * (seen > 1)
    centre, half = centre[which] + shift, side[which] / 2  # [N, 2]
    cut = torch.rand(count, generator=generator) < CUT
    end = centre + half * torch.where(cut, torch.rand(count, generator=generator), 1)[:, None]
    window = torch.arange(count) // objects  # [N], the first, second... time
    if seen == 1:
        window = (centre // STEP).long() @ torch.tensor([1, SIDE])
    scores = torch.randperm(count, generator=generator) / count  # no two are equal
    return Sightings(torch.cat((centre - half, end), dim=1), scores, label[which], window, cut)


def theirs(seen: Sightings) -> Tensor:
    """[D] int64, what torchvision keeps, best first."""
    kept: Tensor = batched_nms(seen.boxes, seen.scores, seen.labels, 0.5)
    return kept


def theirs_with_seams(seen: Sightings) -> Tensor:
    """[D] int64, likewise once the parts of whole boxes are gone."""
    left = (~parts(seen, 0.5)).nonzero().flatten()
    return left[batched_nms(seen.boxes[left], seen.scores[left], seen.labels[left], 0.5)]


def parts(seen: Sightings, cover: float) -> Tensor:
    """[N] bool, the cut boxes that a whole one of another window covers, by dense tables."""
    covered = torch.zeros_like(seen.cut)
    for label in range(CLASSES):
        of_class = seen.labels == label
        whole = (of_class & ~seen.cut).nonzero().flatten()
        for cut in torch.split((of_class & seen.cut).nonzero().flatten(), ROWS):
            a, b = seen.boxes[cut, None], seen.boxes[None, whole]  # [C, 1, 4], [1, W, 4]
            sides = a[..., 2:].minimum(b[..., 2:]) - a[..., :2].maximum(b[..., :2])
            shared = sides.clamp(min=0).prod(-1)  # [C, W]
            enough = (shared >= cover * (a[..., 2:] - a[..., :2]).prod(-1)) & (shared > 0)
            enough &= seen.window[cut, None] != seen.window[None, whole]
            covered[cut] = enough.any(1)
    return covered


def seconds_of(call: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def measure(name: str, seen: Sightings, rule: AnyMerge, repeats: int) -> Record:
    other = theirs_with_seams if isinstance(rule, SeamMerge) else theirs
    other_seconds, expected = seconds_of(lambda: other(seen))
    runs = [seconds_of(lambda: rule(seen)) for _ in range(repeats)]
    seconds = statistics.median(run[0] for run in runs)
    return Record(
        crowd=name,
        rule=rule.kind,
        boxes=len(seen.scores),
        kept=len(expected),
        seconds=seconds,
        reference_seconds=other_seconds,
        ratio=other_seconds / seconds,
        equal=torch.equal(runs[-1][1], expected),
        repeats=repeats,
        machine=f"cpu ({platform.machine()})",
        note=NOTE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the records here")
    args = parser.parse_args()
    torch.set_num_threads(1)

    records = []
    print(
        f"{'crowd':16} {'rule':6} {'kept':>7} {'ours s':>7} {'reference s':>12} {'ratio':>6} equal"
    )
    for name, seen in (("spread", 1), ("seen ten times", 10)):
        sightings = crowd(args.boxes, seen=seen)
        for rule in (PlainMerge(), SeamMerge()):
            row = measure(name, sightings, rule, args.repeats)
            records.append(asdict(row))
            print(
                f"{row.crowd:16} {row.rule:6} {row.kept:7} {row.seconds:7.3f} "
                f"{row.reference_seconds:12.2f} {row.ratio:6.1f} {row.equal}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
