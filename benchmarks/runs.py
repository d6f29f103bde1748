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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TextIO

MEASURES = ("AP", "AP50", "AP_vt", "AP_t")


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        name: in the table.
        recipe: a packaged one.
        settings: `key=value`, as `motedet train --set` takes them.
        init: weights to start from.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    init: Path | None = None


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        seconds: by the clock; None if the run is of a time when they were not kept.
        processor: seconds of all its threads.
        scores: -1 where there is nothing to score.
    """

    folder: str
    data: str
    arm: str
    recipe: str
    settings: tuple[str, ...]
    seed: int
    seconds: float | None
    processor: float | None
    scores: dict[str, float]


def train(arm: Arm, data: Path, seed: int, *, out: Path, threads: int) -> Result:
    """Train one arm with one seed, unless that was done before.

    Raises:
        subprocess.CalledProcessError: if the training fails; its log is in the run's folder.
    """
    name = re.sub(r"\W+", "_", arm.name).strip("_")
    folder = out / f"{arm.recipe}-{name}-{seed}"
    taken = folder / "seconds.json"
    if not (folder / "metrics.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        settings = [*arm.settings, f"train.seed={seed}", "train.validate_every=1000"]
        command = [str(Path(sys.executable).with_name("motedet")), "train", arm.recipe]
        command += ["--data", str(data), "-o", str(folder), "--force", "--threads", str(threads)]
        command += [part for setting in settings for part in ("--set", setting)]
        command += ["--init", str(arm.init)] if arm.init else []
        with folder.with_suffix(".log").open("w") as log:
            env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            seconds = timed(command, log, env)
        taken.write_text(json.dumps(seconds))
        print(f"{folder.name}: {seconds[0]:.0f} s", flush=True)
    wall, processor = json.loads(taken.read_text()) if taken.is_file() else (None, None)
    values = json.loads((folder / "metrics.json").read_text())["values"]
    return Result(
        folder.name, data.name, arm.name, arm.recipe, arm.settings, seed, wall, processor, values
    )


def timed(command: Sequence[str], log: TextIO, env: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; the seconds by the clock, and those of its threads.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


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
