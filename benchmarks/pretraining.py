"""Pretraining on cars whose sizes are matched to infrared targets, then fine-tuning on these.

Sources: none, the cars as they are (12 px), and the cars resized by `motedet scale-match`, drawing
sizes (SM) or keeping their order (MSM). Without a source there are two arms: as many epochs of
fine-tuning as the others, and as much time as pretraining and fine-tuning take together.

    python benchmarks/pretraining.py --sirst FOLDER --cars FOLDER \
        --json benchmarks/results/pretraining.json
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from subprocess import run
from typing import Final

from runs import Arm, Result, compare, markdown, write

RECIPE: Final = "sirst_fcos_p2_r18"
CROP: Final = "data.train_transforms.1.size=[256, 256]"
EPOCHS, LONGER = 8, 12  # of fine-tuning; the longer one takes the time of the pretraining as well
PRETRAINING: Final = (
    CROP,
    "train.epochs=null",
    "train.steps=160",
    "data.dataset.merge_into=target",
)
MATCHING: Final = {"SM": [], "MSM": ["--monotone"]}


def sources(cars: Path, sirst: Path, out: Path) -> dict[str, Path]:
    """What is pretrained on, by name; matched folders are written unless they are there."""
    folders = {"cars as they are": cars}
    for name, options in MATCHING.items():
        folders[f"cars by {name}"] = folder = out / name
        if not folder.exists():
            command = [str(Path(sys.executable).with_name("motedet")), "scale-match"]
            run([*command, str(cars), str(sirst), "-o", str(folder), *options], check=True)
    return folders


def finetuning(name: str, epochs: int, init: Path | None = None) -> Arm:
    """An arm on SIRST."""
    return Arm(name, RECIPE, (CROP, f"train.epochs={epochs}"), init)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sirst", type=Path, required=True, help="folder of SIRST")
    parser.add_argument("--cars", type=Path, required=True, help="folder of the aerial cars")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    together = partial(compare, out=args.out, jobs=args.jobs, threads=args.threads)
    folders = sources(args.cars, args.sirst, args.out)
    before = [(Arm(name, RECIPE, PRETRAINING), folder) for name, folder in folders.items()]
    results: list[Result] = []
    for seed in args.seeds:
        pretrained = together(before, [seed])
        arms = [finetuning("nothing", EPOCHS), finetuning("nothing, longer", LONGER)]
        arms += [
            finetuning(r.arm, EPOCHS, args.out / r.folder / "best.safetensors") for r in pretrained
        ]
        results += together([(arm, args.sirst) for arm in arms], [seed])
    print(markdown(results))
    if args.json:
        write(results, args.json)


if __name__ == "__main__":
    main()
