"""The style that all figures share."""

from typing import Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from motedet.report.palette import Theme

FONT: Final = "DejaVu Sans"  # comes with matplotlib
WIDTH: Final = 5.2  # inches; wider, and the text gets too small on a phone
LegendPlace = Literal["center left", "center right"]


def blank_axes(title: str, theme: Theme, *, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure in the style of all, `width` inches wide."""
    figure = Figure(
        figsize=(width, 3.3),
        facecolor=theme.surface,
        layout=ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12),
    )
    axes = figure.add_subplot()
    axes.set_facecolor(theme.surface)
    axes.set_title(
        title, loc="left", color=theme.ink, fontsize=11, fontweight="bold", fontfamily=FONT, pad=10
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.muted)
    axes.tick_params(colors=theme.muted, labelsize=8.5, left=False)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=theme.muted, fontsize=9, fontfamily=FONT)
    return figure, axes


def say_nothing(figure: Figure, axes: Axes, text: str, theme: Theme) -> Figure:
    """The figure of an empty thing: its title and a word."""
    axes.set(xticks=[], yticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=theme.muted)
    return figure


def add_legend(axes: Axes, theme: Theme, *, place: LegendPlace) -> None:
    """A legend without a frame that the grid does not run through."""
    legend = axes.legend(loc=place, fontsize=8.5, labelcolor=theme.ink, handlelength=1.4)
    legend.get_frame().set(facecolor=theme.surface, edgecolor="none", alpha=0.85)


def legend_beside(axes: Axes, theme: Theme) -> None:
    """A legend to the right of the axes, where it hides no curve."""
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.02),
        fontsize=8.5,
        labelcolor=theme.ink,
        handlelength=1.2,
        borderaxespad=0.3,
        frameon=False,
    )


def colours_for(theme: Theme, count: int) -> list[str]:
    """`count` colours, repeated when they run out."""
    return [theme.lines[i % len(theme.lines)] for i in range(count)]
