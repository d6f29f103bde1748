"""Every assigner from scratch on the same small detectors: scores, and what each object gets.

Rules for points train FCOS, rules for anchors RetinaNet, with the same body (ResNet-18, strides 4
to 32), data, losses and schedule; AutoAssign and TTFNet (one map of stride 4) have their own
losses. Then each trained detector assigns the whole validation images once more, to count who
learns from what and to take the time.

    python benchmarks/assigners.py --sirst FOLDER --cars FOLDER --write docs/assigners.md
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from runs import MEASURES, Arm, Result, cell, compare
from torch import Tensor

from motedet.assign import fit_simd
from motedet.data import DetectionDataset, collate
from motedet.engine import LoadedDetector, load
from motedet.models.dense import matched
from motedet.models.detectors import FCOS, ATSSDetector, AutoAssign, RetinaNet, TTFNet
from motedet.recipes import load_recipe
from motedet.structures import PackedTargets, Targets

BINS = {"very tiny": (2.0, 8.0), "tiny": (8.0, 16.0), "small": (16.0, 32.0), "larger": (32.0, 1e9)}
MARK = "<!-- written by benchmarks/assigners.py -->"

POINT_RULES = {
    "FCOS": "{kind: fcos, center_radius: 1.5, "
    "regress_ranges: [[-1, 64], [64, 128], [128, 256], [256, 1.0e8]]}",
    "RFLA": "{kind: hierarchical, similarity: kl, topk: [3, 1], ratio: 1.0}",
    "SimOTA": "{kind: simota}",
    "TAL": "{kind: tal}",
    "DSL": "{kind: soft_label}",
}
ANCHOR_RULES = {
    "MaxIoU": "{kind: max_iou}",
    "MaxIoU by NWD": "{kind: max_iou, similarity: nwd, pos_iou: 0.7, neg_iou: 0.3, "
    "min_pos_iou: 0.3}",
    "ATSS": "{kind: atss}",
    "NWD-RKA": "{kind: nwd_rka, topk: 2}",
}
ANCHORS_RECIPE = "sirst_simd_retinanet_p2_r18"
CROP = (256, 256)
LEARNT_RECIPE = "sirst_autoassign_p2_r18"
HEATMAP_RECIPE = "sirst_ttfnet_p2_r18"
SCHEDULES = {  # short enough for two cores; the same for every rule
    "sirst": ("train.epochs=14", f"data.train_transforms.1.size={list(CROP)}"),
    "cars": (
        "train.epochs=32",
        "data.train_transforms.0.factor=1.0",
        f"data.train_transforms.1.size={list(CROP)}",
        "data.test_transforms.0.factor=1.0",
    ),
}


def arms(name: str, folder: Path) -> list[Arm]:
    """All rules on one data set."""
    recipe, schedule = f"{name}_fcos_p2_r18", SCHEDULES[name]
    points = [
        Arm(f"{rule} (FCOS)", recipe, (f"model.assigner={text}", *schedule))
        for rule, text in POINT_RULES.items()
    ]
    anchors = [
        Arm(
            f"{rule} (RetinaNet)",
            recipe,
            (_model(ANCHORS_RECIPE), f"model.assigner={text}", *schedule),
        )
        for rule, text in ANCHOR_RULES.items()
    ]
    m, n = fitted_simd(recipe, schedule, folder)
    simd = f"model.assigner={{kind: simd, m: {m:.2f}, n: {n:.2f}, min_pos_simd: 0.0}}"
    own = [
        Arm("SimD (RetinaNet)", recipe, (_model(ANCHORS_RECIPE), simd, *schedule)),
        Arm("AutoAssign", recipe, (_model(LEARNT_RECIPE), *schedule)),
        Arm("Gaussian (TTFNet)", recipe, (_model(HEATMAP_RECIPE), *schedule)),
    ]
    return [*points, *anchors, *own]


def _model(recipe: str) -> str:
    """The setting that takes over the model of another recipe."""
    return "model=" + json.dumps(load_recipe(recipe).model_dump(mode="json")["model"])


def fitted_simd(recipe: str, settings: Sequence[str], folder: Path) -> tuple[float, float]:
    """SimD's m and n for the training crops of an epoch."""
    loaded = load_recipe(recipe, (_model(ANCHORS_RECIPE), *settings))
    dataset = DetectionDataset(
        loaded.data.dataset.catalog(folder, "train"), loaded.data.train_transforms, seed=0
    )
    detector = loaded.model.build(1)
    if not isinstance(detector, RetinaNet):
        raise TypeError(f"{ANCHORS_RECIPE} must be a RetinaNet; found {type(detector).__name__}")
    batches = (collate([dataset[i]]) for i in range(len(dataset)))
    sizes = detector(torch.zeros(1, 3, *CROP)).level_sizes
    grid = detector.spec.priors(sizes)
    return fit_simd((grid, PackedTargets.pack(batch.targets)) for batch in batches)


@dataclass(frozen=True)
class Facts:
    """What objects get from a rule.

    Attributes:
        positives: mean number of priors per object, for each size; None where there is no object.
        without: share of the objects that no prior learns from.
        milliseconds: median processor time of the rule per image.
    """

    positives: dict[str, float | None]
    without: float
    milliseconds: float


def facts(loaded: LoadedDetector, data: Path) -> Facts:
    """Assign every validation image, whole, with the trained detector's rule."""
    recipe = loaded.recipe
    dataset = DetectionDataset(
        recipe.data.dataset.catalog(data, "val"), recipe.data.test_transforms, seed=0
    )
    counts, sides, seconds = [], [], []
    for sample in (dataset[i] for i in range(len(dataset))):
        batch = collate([sample])
        number, taken = positives(loaded, batch.images, batch.targets)
        scale = sample.original_size[0] / sample.image_size[0]
        counts.append(number)
        sides.append((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1).sqrt() * scale)
        seconds.append(taken)
    count, side = torch.cat(counts).float(), torch.cat(sides)  # [G]
    per_bin = {name: count[(side >= low) & (side < high)] for name, (low, high) in BINS.items()}
    return Facts(
        {name: float(some.mean()) if len(some) else None for name, some in per_bin.items()},
        float((count == 0).float().mean()),
        1e3 * statistics.median(seconds),
    )


@torch.no_grad()
def positives(
    loaded: LoadedDetector, images: Tensor, targets: Sequence[Targets]
) -> tuple[Tensor, float]:
    """[G] priors that learn from each object, and the seconds that the rule took."""
    detector = loaded.detector
    if not isinstance(detector, ATSSDetector | AutoAssign | FCOS | RetinaNet | TTFNet):
        raise TypeError(f"{type(detector).__name__} has no rule of its own for a whole image")
    outputs = detector(images)
    grid, packed = detector.spec.priors(outputs.level_sizes), PackedTargets.pack(targets)
    rule: Callable[[], Tensor]
    if isinstance(detector, TTFNet):
        heatmap = detector

        def rule() -> Tensor:
            maps = heatmap.spec.assigner.maps(grid, packed, heatmap.num_classes)
            return maps.match.gt_index[maps.match.positive]

    elif isinstance(detector, AutoAssign):
        learnt = detector

        def rule() -> Tensor:
            return learnt.bags(grid, packed).pairs.gt

    else:
        dense, assigner = detector, detector.spec.assigner

        def rule() -> Tensor:
            match = matched(assigner, grid, packed, lambda: dense.predictions(outputs, grid))
            return match.gt_index[match.positive]

    rule()  # once without the clock: grids are made on first use
    start = time.process_time()  # other processes may run
    gt = rule()
    seconds = time.process_time() - start
    return gt.bincount(minlength=len(packed.boxes)), seconds


def table(results: Sequence[Result], known: Sequence[Facts]) -> str:
    """One row per data set and rule, scores first."""
    head = ("data", "rule", *MEASURES, *(f"priors, {name}" for name in BINS), "none", "ms")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for result, fact in zip(results, known, strict=True):
        cells = [cell([result.scores[measure]]) for measure in MEASURES]
        cells += ["-" if n is None else f"{n:.1f}" for n in fact.positives.values()]
        cells += [f"{fact.without:.1%}", f"{fact.milliseconds:.1f}"]
        lines.append(f"| {result.data} | {result.arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_page(path: Path, text: str) -> None:
    """Put the table below the mark of a page, in place of what is there."""
    page = path.read_text() if path.is_file() else f"# Assigners compared\n\n{MARK}\n"
    path.write_text(page.split(MARK)[0] + f"{MARK}\n\n{text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sirst", type=Path, help="folder of SIRST")
    parser.add_argument("--cars", type=Path, help="folder of the aerial cars")
    parser.add_argument("--rules", nargs="+", help="only these, by the names of the table")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="for all runs")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("runs/assigners"))
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--write", type=Path, help="write the table into this page")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    folders = {"sirst": args.sirst, "cars": args.cars}
    pairs = [
        (Arm(arm.name, arm.recipe, (*arm.settings, *args.settings)), folder)
        for name, folder in folders.items()
        if folder
        for arm in arms(name, folder)
        if args.rules is None or arm.name in args.rules
    ]
    results = compare(pairs, [0], out=args.out, jobs=args.jobs, threads=args.threads)
    known = [
        facts(load(args.out / result.folder / "best.safetensors", device="cpu"), folder)
        for result, (_, folder) in zip(results, pairs, strict=True)
    ]
    text = table(results, known)
    print(text)
    if args.json:
        records = [asdict(r) | asdict(f) for r, f in zip(results, known, strict=True)]
        args.json.write_text(json.dumps(records, indent=1) + "\n")
    if args.write:
        write_page(args.write, text)


if __name__ == "__main__":
    main()
