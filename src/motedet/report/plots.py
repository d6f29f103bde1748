"""Figures of a run, drawn with matplotlib's objects: no global state, no display needed."""

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from motedet.files import write_bytes
from motedet.report.axes import (
    FONT,
    add_legend,
    blank_axes,
    colours_for,
    legend_beside,
    say_nothing,
)
from motedet.report.highlights import curve_names, overall_score, size_scores
from motedet.report.history import History, Series
from motedet.report.measures import defined, find
from motedet.report.palette import BIN_COLOURS, LIGHT, Theme
from motedet.report.sizes import BINS, FloatArray, bin_counts

DPI: Final = 180
BINS_PER_OCTAVE: Final = 4  # bars end where AI-TOD's bins do
SMOOTH_ABOVE: Final = 60  # points in a curve from which on a smoothed line is drawn over it
LOG_RATIO: Final = 12.0  # largest over smallest loss from which on the axis is logarithmic


def size_histogram(sizes: Mapping[str, FloatArray], *, theme: Theme = LIGHT) -> Figure:
    """Share of objects over size, on a logarithmic axis shaded by AI-TOD's bins.

    Args:
        sizes: split name to [N] square roots of box areas in pixels. The first is filled, the
            others are outlined.
        theme: colours.
    """
    figure, axes = blank_axes("Object sizes", theme)
    clean = {name: s[np.isfinite(s) & (s > 0)] for name, s in sizes.items()}
    clean = {name: s for name, s in clean.items() if s.size}
    if not clean:
        return say_nothing(figure, axes, "no objects", theme)
    edges = _octave_edges(np.concatenate(list(clean.values())))  # [E + 1]
    axes.set_xscale("log", base=2)
    axes.set_xlim(edges[0], edges[-1])
    for number, (name, values) in enumerate(clean.items()):
        share = np.histogram(values, edges)[0] / values.size  # [E]
        label = f"{name}, {values.size:,} object{'s' * (values.size != 1)}"
        if number == 0:
            axes.bar(
                edges[:-1],
                share,
                width=np.diff(edges) * 0.94,
                align="edge",
                color=_bin_colours(edges),
            )
            axes.fill_between([], [], color=theme.muted, label=label)  # bars have many colours
        else:
            colour = theme.ink if number == 1 else theme.muted
            axes.stairs(share, edges, color=colour, linewidth=1.4, label=label)
    _shade_bins(axes, next(iter(clean.values())), theme=theme)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set_yticks(
        [tick for tick in axes.get_yticks() if 0 <= tick <= min(1.0, axes.get_ylim()[1])]
    )
    axes.set_xlabel("square root of the box area, px")
    axes.set_ylabel("share of objects")
    if len(clean) > 1:
        add_legend(axes, theme, place="center left" if _leans_right(clean) else "center right")
    return figure


def _octave_edges(sizes: FloatArray) -> NDArray[np.float64]:
    """[E + 1] edges of the bars: whole octaves that hold all sizes and at least 2 to 64 px."""
    low = min(1.0, math.floor(math.log2(float(sizes.min()))))
    high = max(6.0, math.floor(math.log2(float(sizes.max()))) + 1)
    count = round((high - low) * BINS_PER_OCTAVE) + 1
    edges: NDArray[np.float64] = np.logspace(low, high, count, base=2.0)
    return edges


def _bin_colours(edges: NDArray[np.float64]) -> list[str]:
    """The bin colour of every bar."""
    centres = np.sqrt(edges[:-1] * edges[1:])
    starts = [b.low for b in BINS]
    return [BIN_COLOURS[int(np.searchsorted(starts, c, side="right")) - 1] for c in centres]


def _leans_right(sizes: Mapping[str, FloatArray]) -> bool:
    """Whether the larger sizes fill the right of the figure."""
    return float(np.median(next(iter(sizes.values())))) > 16


def _shade_bins(axes: Axes, sizes: FloatArray, *, theme: Theme) -> None:
    """Colour the background by bin and write each bin's name and share above the bars."""
    left, right = axes.get_xlim()
    axes.set_ylim(0, axes.get_ylim()[1] * 1.24)
    counts = bin_counts(sizes)
    for size_bin, count, colour in zip(BINS, counts, BIN_COLOURS, strict=True):
        low, high = max(size_bin.low, left), min(size_bin.high, right)
        if low >= high:
            continue
        axes.axvspan(low, high, color=colour, alpha=0.09, linewidth=0, zorder=0)
        centre = math.sqrt(low * high)
        for height, text, ink in (
            (0.975, size_bin.name, theme.ink),
            (0.905, f"{count / sizes.size:.1%}", theme.muted),
        ):
            place = axes.get_xaxis_transform()
            label = axes.text(centre, height, text, transform=place, color=ink, fontsize=8.5)
            label.set(horizontalalignment="center", verticalalignment="top", fontfamily=FONT)


def loss_curves(history: History, *, theme: Theme = LIGHT) -> Figure:
    """Every loss over the steps, with a smoothed line over the noisy one.

    Args:
        history: what was logged; may be empty.
        theme: colours.
    """
    figure, axes = blank_axes("Losses", theme)
    losses = history.losses()
    if not losses:
        return say_nothing(figure, axes, "no losses logged", theme)
    for (name, series), colour in zip(losses.items(), colours_for(theme, len(losses)), strict=True):
        noisy = len(series.value) > SMOOTH_ABOVE
        if noisy:
            axes.plot(series.step, series.value, color=colour, linewidth=0.7, alpha=0.28)
        values = smooth(series.value) if noisy else series.value
        axes.plot(series.step, values, color=colour, linewidth=1.8, label=_words(name))
    _loss_axis(axes, losses)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend_beside(axes, theme)
    return figure


def _loss_axis(axes: Axes, losses: Mapping[str, Series]) -> None:
    """A logarithmic axis where the losses fall far, else one from zero."""
    values = np.concatenate([s.value for s in losses.values()])
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.quantile(values, (0.01, 1.0)) if values.size else (1.0, 1.0)
    if high / low > LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.4, high * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(bottom=0)


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over a thirtieth of the curve, shorter at its ends; NaN values are left out.

    Args:
        values: [N].

    Returns:
        [N].
    """
    half = max(2, len(values) // 60)
    known = np.isfinite(values)
    kernel = np.ones(2 * half + 1)
    total = np.convolve(np.where(known, values, 0.0), kernel)[half:-half]  # [N]
    count = np.convolve(known.astype(np.float64), kernel)[half:-half]  # [N]
    mean: NDArray[np.float64] = np.where(count > 0, total / count.clip(min=1), np.nan)
    return mean


def learning_rate_curve(history: History, *, theme: Theme = LIGHT) -> Figure:
    """The learning rate over the steps.

    Args:
        history: what was logged; may be empty.
        theme: colours.
    """
    figure, axes = blank_axes("Learning rate", theme)
    rates = history.learning_rates()
    if not rates:
        return say_nothing(figure, axes, "no learning rate logged", theme)
    for (name, series), colour in zip(rates.items(), colours_for(theme, len(rates)), strict=True):
        axes.plot(series.step, series.value, color=colour, linewidth=1.8, label=name)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    axes.yaxis.get_offset_text().set(color=theme.muted, fontsize=8.5)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(rates) > 1:
        legend_beside(axes, theme)
    return figure


def ap_over_epochs(history: History, *, theme: Theme = LIGHT) -> Figure:
    """Average precision on the validation split over the epochs that were trained before.

    Args:
        history: what was logged, epochs from 0; may be empty.
        theme: colours.
    """
    figure, axes = blank_axes("Average precision while training", theme)
    curves = _known_curves(history.scores())
    if not curves:
        return say_nothing(figure, axes, "no validation yet", theme)
    for (name, curve), colour in zip(curves.items(), colours_for(theme, len(curves)), strict=True):
        known = bool(np.isfinite(curve.epoch).all())
        when = curve.epoch + 1 if known else curve.step
        width = 2.2 if name == "AP" else 1.4
        label = f"{name}  {curve.value[-1]:.3f}"
        axes.plot(when, curve.value, color=colour, label=label, zorder=3, linewidth=width)
        axes.plot(when[-1:], curve.value[-1:], "o", color=colour, markersize=4.5, zorder=4)
        axes.set_xlabel("epochs" if known else "step")
    axes.set_ylim(0, _score_limit(float(curve.value.max()) for curve in curves.values()))
    left, right = axes.get_xlim()
    if right - left < 4:  # room for whole numbers around a single validation
        axes.set_xlim((left + right) / 2 - 2, (left + right) / 2 + 2)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    legend_beside(axes, theme)
    return figure


def _score_limit(values: Iterable[float]) -> float:
    """The end of an axis of scores in 0-1: a quarter above the largest, and not below 0.3."""
    return min(1.08, max(0.25, *values) * 1.25)


def _known_curves(scores: Mapping[str, Series]) -> dict[str, Series]:
    """The AP curves worth drawing, without undefined points."""
    curves = {}
    for name in curve_names(scores):
        series = scores[name]
        known = np.isfinite(series.value) & (series.value >= 0)
        if known.any():
            curves[name] = Series(series.step[known], series.epoch[known], series.value[known])
    return curves


def ap_by_size(values: Mapping[str, float], *, theme: Theme = LIGHT) -> Figure:
    """Average precision in every size bin, beside the one over all sizes.

    Args:
        values: score name to value in 0-1; undefined bins are said so.
        theme: colours.
    """
    figure, axes = blank_axes("Average precision by size", theme)
    name, label = overall_score(values)
    bars = [(label, find(values, name), theme.muted)]
    bars += [(s.label, values.get(s.name, math.nan), s.colour) for s in size_scores(values)]
    known_values = [value for _, value, _ in bars if defined(value)]
    if len(bars) == 1 or not known_values:
        return say_nothing(figure, axes, "no scores by size", theme)
    top = _score_limit(known_values)
    for place, (_, value, colour) in enumerate(bars):
        known = defined(value)
        axes.bar(place, value if known else 0.0, width=0.62, color=colour)
        axes.text(
            place,
            (value if known else 0.0) + 0.015 * top,
            f"{value:.3f}" if known else "no objects",
            ha="center",
            color=theme.ink if known else theme.muted,
            fontsize=9 if known else 8,
            fontfamily=FONT,
        )
    axes.set_xticks(range(len(bars)), [label for label, _, _ in bars])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, top)
    return figure


def figure_png(figure: Figure, *, dpi: int = DPI) -> bytes:
    """A figure as the bytes of a PNG file.

    Args:
        figure: what the functions here return.
        dpi: pixels per inch.
    """
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": "motedet"})
    return stream.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all.

    Args:
        figure: what the functions here return.
        path: file to write; its folder is made.
    """
    return write_bytes(path, figure_png(figure))


def write_figures(
    folder: Path,
    history: History,
    *,
    sizes: Mapping[str, FloatArray],
    values: Mapping[str, float],
) -> tuple[Path, ...]:
    """Write the figures of a run: sizes, losses, learning rate, AP over epochs, AP by size.

    Args:
        folder: made if it is missing.
        history: what was logged.
        sizes: split name to object sizes in pixels.
        values: final scores in 0-1.
    """
    figures = {
        "sizes": size_histogram(sizes),
        "losses": loss_curves(history),
        "learning_rate": learning_rate_curve(history),
        "ap_over_epochs": ap_over_epochs(history),
        "ap_by_size": ap_by_size(values),
    }
    return tuple(save_figure(figure, folder / f"{name}.png") for name, figure in figures.items())


def _words(name: str) -> str:
    """A loss's name for a legend: `loss_cls` is "cls", the total is "loss"."""
    return name.removeprefix("loss_") or name
