"""What `motedet info` shows of a detector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """One level of the pyramid.

    Attributes:
        stride: pixels per cell.
        cells: (height, width) at the size that was asked for.
        receptive_field: side of what a cell of the backbone sees, in pixels; None if unknown.
        priors: (width, height) of each prior of a cell, in pixels; (0, 0) for a point.
    """

    stride: int
    cells: tuple[int, int]
    receptive_field: float | None
    priors: Sequence[tuple[float, float]]


def costs_table(costs: Mapping[str, tuple[int, int]]) -> Table:
    """Parameters and multiply-adds of every part, and their sums.

    Args:
        costs: parameters and multiply-adds by part.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    total = [sum(column) for column in zip(*costs.values(), strict=True)]
    table.add_column("part", footer="sum")
    for name, value in zip(("parameters, M", "MACs, M"), total, strict=True):
        table.add_column(name, justify="right", footer=_millions(value))
    for part, (parameters, macs) in costs.items():
        table.add_row(part, _millions(parameters), _millions(macs))
    return table


def levels_table(levels: Sequence[LevelRow]) -> Table:
    """Where the detector may predict."""
    table = Table(title="Levels", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("stride", "cells, h x w", "receptive field, px", "priors, w x h, px"):
        table.add_column(name, justify="right")
    for level in levels:
        field = "-" if level.receptive_field is None else f"{level.receptive_field:g}"
        sizes = ["point" if w == h == 0 else f"{w:.3g}x{h:.3g}" for w, h in level.priors]
        height, width = level.cells
        table.add_row(str(level.stride), f"{height} x {width}", field, ", ".join(sizes))
    return table


def _millions(value: int) -> str:
    return f"{value / 1e6:,.2f}"
