"""Time and memory of AutoAssign's loss, forward and backward, against the published dense form.

Dense means every point with every object (`tests/dense_autoassign.py`). P3 to P7 of one image of
800 x 800 with 8 classes, objects AI-TOD-like, one CPU thread; seconds are CPU seconds. Predicted
boxes matter, because a point's best IoU is sought among all objects that its box meets: "untrained"
boxes reach 4 strides each way on every level, "trained" ones are of the objects' sizes.

    python benchmarks/autoassign.py [--objects N ...] [--json FILE] [--no-dense]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from assign import IMAGE_SIDE, RUNS, Record, extra_megabytes, machine, objects, seconds
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import AutoAssign, AutoAssignSpec
from motedet.models.heads import AutoAssignHeadSpec
from motedet.models.necks import FPNSpec
from motedet.structures import Targets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from dense_autoassign import dense_autoassign

NUM_CLASSES = 8
LEVELS = tuple((-(-IMAGE_SIDE // s), -(-IMAGE_SIDE // s)) for s in (8, 16, 32, 64, 128))
Losses = dict[str, Tensor]


def detector(*, force_topk: int | None) -> AutoAssign:
    """With the smallest network, which does not run."""
    spec = AutoAssignSpec(
        backbone=BackboneSpec(name="resnet18", out_stages=(2, 3, 4)),
        neck=FPNSpec(out_channels=8, extra="on_output"),
        head=AutoAssignHeadSpec(channels=8, num_convs=0, groups=1),
        force_topk=force_topk,
    )
    return spec.build(NUM_CLASSES)


def targets(count: int) -> list[Targets]:
    """One image."""
    packed = objects(count, IMAGE_SIDE)
    labels = torch.randint(NUM_CLASSES, (count,), generator=torch.Generator().manual_seed(1))
    return [Targets.of(packed.boxes, labels, (IMAGE_SIDE, IMAGE_SIDE))]


def outputs(state: str, strides: Tensor) -> HeadOutputs:
    """Predictions at P points with strides [P]."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, len(strides))
    noise = torch.randn(*shape, 4, generator=generator)
    boxes = (3 * noise + 6.4).clamp(min=0)
    if state == "untrained":
        boxes = (4 + 0.1 * noise) * strides[:, None]
    return HeadOutputs(
        logits=(torch.randn(*shape, NUM_CLASSES, generator=generator) - 3).requires_grad_(),
        boxes=boxes.requires_grad_(),
        ctrness=torch.randn(*shape, generator=generator).requires_grad_(),
        level_sizes=LEVELS,
    )


def both_ways(losses: Callable[[], Losses], leaves: Sequence[Tensor]) -> list[Tensor]:
    """The losses and the gradients of their sum."""
    values = list(losses().values())
    return [*values, *torch.autograd.grad(torch.stack(values).sum(), leaves)]


def equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Within the tolerance of the golden vectors: 1e-5 of losses, 1e-4 of the largest gradient."""
    return all(
        bool(
            (f - e).abs().max()
            <= (1e-5 * e.abs().max() if e.ndim == 0 else 1e-6 + 1e-4 * e.abs().max())
        )
        for f, e in zip(found, expected, strict=True)
    )


def measure(state: str, count: int, *, force_topk: int | None, dense: bool) -> Record:
    module, records = detector(force_topk=force_topk), targets(count)
    grid, center = module.spec.priors(LEVELS), module.bbox_head.center_prior
    given = outputs(state, grid.strides())
    leaves = [v for v in given[:3] if v is not None] + [center.mean, center.sigma]

    def sparse() -> list[Tensor]:
        return both_ways(lambda: module.losses(given, records), leaves)

    found = sparse()
    took = seconds(sparse, RUNS)
    name = f"autoassign_{state}" + ("_forced" if force_topk else "")
    record: Record = {"name": name, "objects": count, "priors": grid.num_priors, "seconds": took}
    record["extra_mb"] = extra_megabytes(sparse)
    record |= {"dense_seconds": None, "ratio": None, "equal": None}
    if dense:
        start = time.process_time()
        expected = both_ways(
            lambda: dense_autoassign(
                grid, given, records, center.mean, center.sigma, topk=force_topk
            ),
            leaves,
        )
        dense_took = time.process_time() - start
        record |= {"dense_seconds": dense_took, "ratio": dense_took / took}
        record["equal"] = equal(found, expected)
    return record


def show(record: Record) -> None:
    def number(key: str, digits: int, scale: float = 1.0) -> str:
        value = record.get(key)
        return "-" if value is None else f"{float(value) * scale:.{digits}f}"

    print(
        f"{record['name']:<28}{record['objects']:>8}{number('seconds', 1, 1e3):>10}"
        f"{number('dense_seconds', 2):>10}{number('ratio', 0):>8}{number('extra_mb', 1):>10}"
        f"{record['equal']!s:>7}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, nargs="+", default=[100, 500, 1500, 3000])
    parser.add_argument("--dense-objects", type=int, default=1500, help="no dense form above it")
    parser.add_argument("--json", type=Path, help="write the records to this file")
    parser.add_argument("--no-dense", action="store_true", help="do not run the dense form")
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
    print(f"{'name':<28}" + "".join(head.rjust(width) for head, width in heads))
    records = []
    for state, topk in (("untrained", None), ("trained", None), ("trained", 9)):
        for count in options.objects:
            dense = not options.no_dense and count <= options.dense_objects
            records.append(measure(state, count, force_topk=topk, dense=dense))
            show(records[-1])
    if options.json:
        for record in records:
            record["machine"] = description
        options.json.write_text(json.dumps(records, indent=1) + "\n")
    return 1 if any(record["equal"] is False for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
