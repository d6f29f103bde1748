"""Training on windows that are cut in memory, against whole images and random crops.

The same detector and schedule; the numbers of steps are such that all take about as long (processor
seconds). Every detector is scored on whole images, which it sees at once, and through windows.

    python benchmarks/tiled_training.py --cars FOLDER --json benchmarks/results/tiled_training.json
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from runs import MEASURES, Arm, Result, cell, compare

from motedet import engine
from motedet.data import Tiles

RECIPE: Final = "cars_fcos_p2_r18"
TILES: Final = Tiles(size=128, overlap=32)  # px of the image, which the recipe enlarges twice
WHOLE: Final = (
    "data.train_transforms.1={kind: random_crop, size: [4096, 4096]}",
    "data.train_transforms.4.prob=0.0",  # turned images would double the padding of a batch
    "train.batch_size=2",
)

ARMS: Final = (
    Arm(
        "windows of 128 px",
        RECIPE,
        (
            f"data.tiles={{size: {TILES.size}, overlap: {TILES.overlap}}}",
            "data.train_transforms.1.size=[256, 256]",
            "train.epochs=null",
            "train.steps=480",
        ),
    ),
    Arm(
        "whole images",
        RECIPE,
        (*WHOLE, "train.epochs=null", "train.steps=175"),
    ),
    Arm("random crops of 208 px", RECIPE, ("train.epochs=null", "train.steps=180")),
)


@dataclass(frozen=True)
class Row:
    """One training; both scores are of whole images.

    Attributes:
        whole: scores of predictions at once.
        tiled: scores of predictions through windows.
    """

    result: Result
    whole: dict[str, float]
    tiled: dict[str, float]


def scored(result: Result, weights: Path, data: Path) -> Row:
    """Look at the validation images in both ways."""
    loaded = engine.load(weights, device="cpu")
    plain, through = (
        replace(loaded, recipe=loaded.recipe.model_copy(update={"test_tiles": tiles}))
        for tiles in (None, TILES)
    )
    whole, tiled = (engine.evaluate(each, data)[0].values for each in (plain, through))
    return Row(result, dict(whole), dict(tiled))


def table(rows: list[Row]) -> str:
    """Two rows for each training."""
    head = ("trained on", "processor seconds", "predicted", *MEASURES)
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        taken = "-" if row.result.processor is None else f"{row.result.processor:.0f}"
        for way, scores in (("at once", row.whole), (f"windows of {TILES.size} px", row.tiled)):
            cells = (row.result.arm, taken, way, *(cell([scores[m]]) for m in MEASURES))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cars", type=Path, required=True, help="folder of the aerial cars")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("runs/tiled_training"))
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    pairs = [(arm, args.cars) for arm in ARMS]
    results = compare(pairs, [0], out=args.out, jobs=args.jobs, threads=args.threads)
    rows = [scored(r, args.out / r.folder / "best.safetensors", args.cars) for r in results]
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
