"""Trainings side by side: the same recipe with other settings, over seeds, into one table.

A run that has its `metrics.json` is not repeated: an interrupted comparison goes on where it was.
Only the last epoch is validated, so that no arm gets its best of several.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

MEASURES = ("AP", "AP50", "AP_vt", "AP_t")


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        name: in the table.
        recipe: a packaged one.
        settings: `key=value`, as `motedet train --set` takes them.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The scores of one run; -1 where there is nothing to score."""

    folder: str
    data: str
    arm: str
    recipe: str
    settings: tuple[str, ...]
    seed: int
    seconds: float | None
    scores: dict[str, float]


def train(arm: Arm, data: Path, seed: int, *, out: Path, threads: int) -> Result:
    """Train one arm with one seed, unless that was done before.

    Raises:
        subprocess.CalledProcessError: if the training fails; its log is in the run's folder.
    """
    name = re.sub(r"\W+", "_", arm.name).strip("_")
    folder = out / f"{arm.recipe}-{name}-{seed}"
    seconds = None
    if not (folder / "metrics.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        settings = [*arm.settings, f"train.seed={seed}", "train.validate_every=1000"]
        command = [str(Path(sys.executable).with_name("motedet")), "train", arm.recipe]
        command += ["--data", str(data), "-o", str(folder), "--force", "--threads", str(threads)]
        command += [part for setting in settings for part in ("--set", setting)]
        start = time.perf_counter()
        with folder.with_suffix(".log").open("w") as log:
            env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT, env=env)
        seconds = time.perf_counter() - start
        print(f"{folder.name}: {seconds:.0f} s", flush=True)
    values = json.loads((folder / "metrics.json").read_text())["values"]
    return Result(folder.name, data.name, arm.name, arm.recipe, arm.settings, seed, seconds, values)


def compare(
    arms: Sequence[tuple[Arm, Path]], seeds: Sequence[int], *, out: Path, jobs: int, threads: int
) -> list[Result]:
    """Train every arm on its data with every seed, `jobs` at a time, the first seed first."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        started = [
            pool.submit(train, arm, data, seed, out=out, threads=threads)
            for seed in seeds
            for arm, data in arms
        ]
        return [run.result() for run in started]


def markdown(results: Sequence[Result]) -> str:
    """A table with the mean of each measure and, over several seeds, its standard deviation."""
    lines = [
        "| data | " + " | ".join(("", "seeds", *MEASURES)) + " |",
        "|---" * (3 + len(MEASURES)) + "|",
    ]
    order = {(r.data, r.arm): place for place, r in reversed(list(enumerate(results)))}
    ranked = sorted(results, key=lambda r: order[r.data, r.arm])
    for (data, arm), group in groupby(ranked, key=lambda r: (r.data, r.arm)):
        runs = list(group)
        cells = [cell([r.scores[measure] for r in runs]) for measure in MEASURES]
        lines.append(f"| {data} | {arm} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(results: Sequence[Result], path: Path) -> None:
    """All results as JSON."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def cell(values: Sequence[float]) -> str:
    """A mean, with the standard deviation where there are several values; - for undefined ones."""
    if min(values) < 0:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
