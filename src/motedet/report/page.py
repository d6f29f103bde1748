"""One HTML page per run that needs no other file: no script, no font, no address outside it."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from motedet.files import write_bytes
from motedet.report import plots
from motedet.report.highlights import headline_names, size_scores
from motedet.report.history import History
from motedet.report.measures import defined, measures, show
from motedet.report.palette import BIN_COLOURS, DARK, LIGHT, Theme
from motedet.report.sizes import BINS, FloatArray, bin_counts

PNG_UP_TO: Final = 500_000  # bytes of an embedded drawing; larger ones become JPEG
LARGEST_SIDE: Final = 2000  # pixels of an embedded drawing
FIGURE_DPI: Final = 150
CLASSES_SHOWN: Final = 100


@dataclass(frozen=True, kw_only=True)
class GalleryEntry:
    """A drawing to show.

    Attributes:
        title: such as the file's name.
        image: what `draw_detections` returns.
        caption: such as `ImageQuality.summary`.
    """

    title: str
    image: Image.Image
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """What a split of the dataset holds.

    Attributes:
        name: such as "train".
        images: how many.
        images_without: how many of them have no object.
        sizes: [N] square roots of the box areas in pixels.
        classes: class name to number of objects.
        problems: kind of tolerated problem to how often it occurs.
    """

    name: str
    images: int
    sizes: FloatArray
    images_without: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    problems: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """Everything that a report says, as plain things; any of it may be empty.

    Attributes:
        name: of the run or recipe.
        command: that makes the run again.
        recipe_yaml: the resolved recipe.
        seed: of the run.
        summary: facts for the top of the page, such as detector, assigner, epochs, time.
        splits: of the dataset.
        history: CSV log of training.
        protocol: by which the scores were computed.
        values: score name to value in 0-1, -1 where undefined.
        per_class: class name to scores.
        notes: warnings and remarks.
        best: drawings of the best images.
        worst: drawings of the worst images.
        environment: name to version.
    """

    name: str
    command: str = ""
    recipe_yaml: str = ""
    seed: int | None = None
    summary: Mapping[str, str] = field(default_factory=dict)
    splits: tuple[SplitFacts, ...] = ()
    history: Path | None = None
    protocol: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    best: tuple[GalleryEntry, ...] = ()
    worst: tuple[GalleryEntry, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def write_report(run: Path, context: ReportContext) -> Path:
    """Write `report.html` into the folder of a run, whole or not at all.

    Args:
        run: folder; made if it is missing.
        context: what to say.

    Returns:
        Path of the page.
    """
    return write_bytes(run / "report.html", render_report(context).encode())


def render_report(context: ReportContext) -> str:
    """The text of the page.

    Args:
        context: what to say.
    """
    template = files("motedet.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["image"] = embedded_image
    environment.filters["score"] = show
    environment.filters["code"] = _with_code
    return environment.from_string(template).render(
        run=context,
        headline=_headline(context.values),
        score_cards=_score_cards(context.values),
        class_table=_class_table(context.per_class),
        bins=_bin_rows(context.splits),
        figures=_figures(context),
    )


def _with_code(text: str) -> Markup:
    """What stands between backticks, as code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in parts
    )


def _headline(values: Mapping[str, float]) -> list[tuple[str, str]]:
    """The three to five numbers that people ask for first, spelt as given."""
    return [(n, show(values[n])) for n in headline_names(values) if defined(values[n])]


@dataclass(frozen=True, slots=True)
class _ScoreRow:
    """A line of the table of scores."""

    name: str
    meaning: str
    value: float
    width: float
    is_error: bool


def _score_cards(values: Mapping[str, float]) -> list[list[_ScoreRow]]:
    """The two tables of scores: precision beside recall, errors and the rest."""
    cards: tuple[list[_ScoreRow], list[_ScoreRow]] = ([], [])
    for item in measures(values):
        value = values[item.name]
        width = min(value, 1.0) * 100 if defined(value) else 0.0
        row = _ScoreRow(item.name, item.meaning, value, width, item.lower_is_better)
        cards[not item.group.startswith("AP")].append(row)
    return [rows for rows in cards if rows]


def _class_table(per_class: Mapping[str, Mapping[str, float]]) -> dict[str, object]:
    """Columns and lines of the scores by class."""
    names = {name: None for scores in per_class.values() for name in scores}
    shown = [m.name for m in measures(names) if m.group in ("AP", "AP by size", "oLRP")]
    columns = [n for n in shown if any(defined(s.get(n, -1.0)) for s in per_class.values())]
    rows = [
        (name, [show(scores.get(column, -1.0)) for column in columns])
        for name, scores in list(per_class.items())[:CLASSES_SHOWN]
    ]
    return {"columns": columns, "rows": rows, "left_out": len(per_class) - len(rows)}


def _bin_rows(splits: tuple[SplitFacts, ...]) -> list[dict[str, object]]:
    """A line per size bin with one cell per split."""
    counts = [bin_counts(split.sizes) for split in splits]
    totals = [max(sum(c), 1) for c in counts]
    return [
        {
            "name": size_bin.name,
            "interval": size_bin.interval,
            "colour": colour,
            "cells": [
                (f"{c[i]:,}", f"{c[i] / total:.1%}")
                for c, total in zip(counts, totals, strict=True)
            ],
        }
        for i, (size_bin, colour) in enumerate(zip(BINS, BIN_COLOURS, strict=True))
    ]


def _figures(context: ReportContext) -> dict[str, Markup]:
    """Name to the figure in both themes; figures without content are left out."""
    history = History.read(context.history)
    sizes = {split.name: split.sizes for split in context.splits}
    makers: dict[str, tuple[bool, Callable[[Theme], Figure], str]] = {
        "sizes": (
            any(np.isfinite(s).any() for s in sizes.values()),
            lambda theme: plots.size_histogram(sizes, theme=theme),
            "Histogram of object sizes, shaded by size bin",
        ),
        "losses": (
            bool(history.losses()),
            lambda theme: plots.loss_curves(history, theme=theme),
            "Losses over training steps",
        ),
        "learning_rate": (
            bool(history.learning_rates()),
            lambda theme: plots.learning_rate_curve(history, theme=theme),
            "Learning rate over training steps",
        ),
        "ap_over_epochs": (
            bool(history.scores()),
            lambda theme: plots.ap_over_epochs(history, theme=theme),
            "Average precision over epochs",
        ),
        "ap_by_size": (
            any(defined(context.values.get(s.name, -1.0)) for s in size_scores(context.values)),
            lambda theme: plots.ap_by_size(context.values, theme=theme),
            "Average precision in each size bin",
        ),
    }
    return {name: _both_themes(make, alt) for name, (full, make, alt) in makers.items() if full}


def _both_themes(make: Callable[[Theme], Figure], alt: str) -> Markup:
    """A picture that follows the reader's choice of a dark or a light page."""
    light, dark = (
        _data_address(plots.figure_png(make(theme), dpi=FIGURE_DPI), "png")
        for theme in (LIGHT, DARK)
    )
    return Markup(
        '<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        '<img src="{light}" alt="{alt}"></picture>'
    ).format(dark=dark, light=light, alt=alt)


def embedded_image(image: Image.Image) -> str:
    """An image as a `data:` address: PNG while that is small, JPEG beyond.

    Args:
        image: of any size; larger than `LARGEST_SIDE` it is shrunk.
    """
    picture = image.convert("RGB")
    if max(picture.size) > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="png", optimize=True)
    if stream.tell() <= PNG_UP_TO:
        return _data_address(stream.getvalue(), "png")
    stream = io.BytesIO()
    picture.save(stream, format="jpeg", quality=90, subsampling=0)
    return _data_address(stream.getvalue(), "jpeg")


def _data_address(content: bytes, kind: str) -> str:
    """The content of an image file as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
