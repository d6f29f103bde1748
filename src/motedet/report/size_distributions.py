"""A picture of three size distributions: a data set before and after Scale Match, and its goal."""

import math
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from motedet.report.axes import FONT, blank_axes, say_nothing
from motedet.report.palette import LIGHT, Theme
from motedet.report.sizes import BINS, FloatArray

BINS_PER_OCTAVE: Final = 4
WIDTH: Final = 5.8  # inches, for a legend in one row
NARROW: Final = 0.09  # of the axis; bins under this have no room for their name


def size_distributions(
    *, source: FloatArray, target: FloatArray, matched: FloatArray, theme: Theme = LIGHT
) -> Figure:
    """Share of objects over size for all three, on a logarithmic axis.

    The target is filled, the source a thin line, what was matched a thick one: where the thick line
    follows the filled area, sizes are as wanted.

    Args:
        source: [N] sizes before in pixels; those that are not positive are left out.
        target: [M] sizes that were wanted.
        matched: [N'] sizes after.
        theme: colours.
    """
    figure, axes = blank_axes("Object sizes before and after Scale Match", theme, width=WIDTH)
    named = {"target": target, "source": source, "matched": matched}
    clean = {name: s[np.isfinite(s) & (s > 0)] for name, s in named.items()}
    clean = {name: s for name, s in clean.items() if s.size}
    if not clean:
        return say_nothing(figure, axes, "no objects", theme)
    edges = _octave_edges(np.concatenate(list(clean.values())))  # [E + 1]
    axes.set_xscale("log", base=2)
    axes.set_xlim(edges[0], edges[-1])
    for name, values in clean.items():
        _draw(axes, name, values, edges, theme=theme)
    _mark_bins(axes, theme=theme)
    _legend_above(axes, theme)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_xlabel("square root of the box area, px")
    axes.set_ylabel("share of objects")
    return figure


def _draw(
    axes: Axes, name: str, sizes: FloatArray, edges: NDArray[np.float64], *, theme: Theme
) -> None:
    """The share of [N] sizes between each of [E + 1] edges."""
    share = np.histogram(sizes, edges)[0] / sizes.size  # [E]
    first, last = np.flatnonzero(share)[[0, -1]].tolist()
    share, edges = share[first : last + 1], edges[first : last + 2]  # no line along the axis
    label = f"{name}, median {np.median(sizes):.3g} px"
    if name == "target":
        axes.stairs(share, edges, fill=True, color=theme.lines[1], alpha=0.35, label=label)
    elif name == "source":
        axes.stairs(share, edges, color=theme.muted, linewidth=1.2, label=label)
    else:
        axes.stairs(share, edges, color=theme.lines[0], linewidth=2.2, label=label, zorder=3)


def _legend_above(axes: Axes, theme: Theme) -> None:
    """A legend in one row between the title and the axes, where it hides nothing."""
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=3,
        fontsize=8,
        labelcolor=theme.ink,
        handlelength=1.2,
        columnspacing=1.3,
        frameon=False,
    )
    legend.set_in_layout(False)  # long names must not make the axes narrow
    title = axes.get_title(loc="left")
    axes.set_title(title, loc="left", pad=26, fontsize=11, fontweight="bold", fontfamily=FONT)


def _octave_edges(sizes: FloatArray) -> NDArray[np.float64]:
    """[E + 1] edges of the bars: whole octaves that hold all sizes and at least 2 to 64 px."""
    low = min(1.0, math.floor(math.log2(float(sizes.min()))))
    high = max(6.0, math.floor(math.log2(float(sizes.max()))) + 1)
    count = round((high - low) * BINS_PER_OCTAVE) + 1
    edges: NDArray[np.float64] = np.logspace(low, high, count, base=2.0)
    return edges


def _mark_bins(axes: Axes, *, theme: Theme) -> None:
    """A line where a size bin starts, and the bin's name above the bars."""
    left, right = axes.get_xlim()
    axes.set_ylim(0, axes.get_ylim()[1] * 1.14)
    for size_bin in BINS:
        low, high = max(size_bin.low, left), min(size_bin.high, right)
        if low >= high:
            continue
        if low > left:
            axes.axvline(low, color=theme.grid, linewidth=0.8, zorder=0)
        if math.log(high / low) < NARROW * math.log(right / left):
            continue
        axes.text(
            math.sqrt(low * high),
            0.975,
            size_bin.name,
            transform=axes.get_xaxis_transform(),
            color=theme.muted,
            fontsize=8.5,
            fontfamily=FONT,
            ha="center",
            va="top",
            bbox={"facecolor": theme.surface, "edgecolor": "none", "pad": 1.5},  # over the grid
        )
