"""The numbers logged while training, read back from a CSV file with blank cells."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from motedet.report.measures import measure


@dataclass(frozen=True, slots=True)
class Series:
    """One logged quantity.

    Attributes:
        step: [N] optimiser steps, ascending.
        epoch: [N], NaN where it was not logged.
        value: [N].
    """

    step: NDArray[np.float64]
    epoch: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """Everything logged in one run.

    Attributes:
        series: short name to series, in the order of the file's columns.
    """

    series: Mapping[str, Series] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """Read a CSV log; a missing file is an empty history.

        Columns `epoch` and `step` say when; every other column of numbers is a series. A folder
        in a name (`train/loss`) and Lightning's `_step` are dropped; a row without a step
        takes the one before it.

        Args:
            path: of the CSV file.
        """
        if path is None or not path.is_file():
            return cls()
        points: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        last_step = -1.0
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                step = _number(row.get("step"))
                last_step = last_step + 1 if math.isnan(step) else step
                for column, cell in row.items():
                    if cell and column not in ("epoch", "step"):
                        when = (last_step, _number(row.get("epoch")))
                        points[short_name(column)].append((*when, _number(cell)))
        return cls({name: _series(rows) for name, rows in points.items()})

    def losses(self) -> dict[str, Series]:
        """The total loss first, then its parts."""
        found = {n: s for n, s in self.series.items() if "loss" in n}
        return dict(sorted(found.items(), key=lambda item: item[0] != "loss"))

    def learning_rates(self) -> dict[str, Series]:
        """One per optimiser group."""
        return {n: s for n, s in self.series.items() if n == "lr" or n.startswith("lr-")}

    def scores(self) -> dict[str, Series]:
        """The validation scores: AP, AR and oLRP in any spelling."""
        return {n: s for n, s in self.series.items() if measure(n, aitod=True).group != "other"}


def short_name(column: str) -> str:
    """The name of a logged column without folder and suffix; validation losses keep theirs."""
    if column.startswith("lr-"):
        return column
    folder, _, name = column.rpartition("/")
    name = name.removesuffix("_step")
    for prefix in ("train_", "val_"):
        if name.startswith(prefix):
            folder, name = prefix.rstrip("_"), name.removeprefix(prefix)
    return f"{folder} {name}" if "loss" in name and folder.startswith("val") else name


def _number(cell: str | None) -> float:
    """The number in a cell, NaN if there is none."""
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        return math.nan


def _series(rows: list[tuple[float, float, float]]) -> Series:
    """Sort by step; of rows logged twice at one step (a resumed run) the later one stays."""
    latest = {step: (epoch, value) for step, epoch, value in rows}
    steps = sorted(latest)
    return Series(
        step=np.array(steps, dtype=np.float64),
        epoch=np.array([latest[s][0] for s in steps], dtype=np.float64),
        value=np.array([latest[s][1] for s in steps], dtype=np.float64),
    )
