"""Tables for the terminal, made with rich."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, Protocol

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from motedet.report.measures import Measure, measures, show
from motedet.report.palette import BIN_COLOURS
from motedet.report.sizes import BINS, FloatArray, bin_counts

MAX_CLASS_COLUMNS: Final = 6  # more do not fit a terminal of 100 columns
BAR_CELLS: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


class ProblemLike(Protocol):
    """What `problems_table` reads of a problem in a dataset."""

    @property
    def severity(self) -> Literal["fatal", "tolerated"]:
        """Whether training refuses it."""

    @property
    def kind(self) -> str:
        """Which check found it."""

    @property
    def file(self) -> object:
        """The file that has it."""

    @property
    def image_id(self) -> object:
        """The image, None if it is not about one."""

    @property
    def annotation_id(self) -> object:
        """The annotation, None if it is not about one."""

    @property
    def message(self) -> str:
        """What is wrong."""


@dataclass(frozen=True, kw_only=True)
class RecipeRow:
    """A line of `recipes_table`.

    Attributes:
        name: what `motedet train` takes.
        detector: such as "FCOS-R50".
        assigner: the assignment rule.
        dataset: what it trains on.
        published: in 0-1, the score by which its protocol compares; None if there is none.
    """

    name: str
    detector: str
    assigner: str
    dataset: str
    published: float | None = None


def scores_table(
    values: Mapping[str, float],
    per_class: Mapping[str, Mapping[str, float]],
    *,
    title: str = "Scores",
) -> Table:
    """Every score on a row: with its meaning, or per class while the columns fit.

    Args:
        values: score name to value in 0-1; -1 and NaN are undefined and shown as "-".
        per_class: class name to the same kind of mapping; may be empty.
        title: printed above.
    """
    classes = list(per_class) if 2 <= len(per_class) <= MAX_CLASS_COLUMNS else []
    table = _table(title)
    table.add_column("score", style="bold", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    for name in classes:
        table.add_column(escape(name), justify="right", no_wrap=True)
    if not classes:
        table.add_column("meaning", style="dim")
    for _, group in groupby(measures(values), key=lambda m: m.group):
        for row in group:
            others = [show(per_class[name].get(row.name, -1.0)) for name in classes]
            cells = others or [row.meaning]
            table.add_row(escape(row.name), _headline(row, values), *cells)
        table.add_section()
    return table


def _headline(row: Measure, values: Mapping[str, float]) -> Text:
    """The value over all classes, in bold for the plain AP."""
    return Text(show(values[row.name]), style="bold" if row.name == "AP" else "")


def class_scores_table(
    per_class: Mapping[str, Mapping[str, float]], *, title: str = "Scores by class"
) -> Table:
    """A row per class, for datasets with too many classes for `scores_table`.

    Args:
        per_class: class name to scores in 0-1.
        title: printed above.
    """
    names = {name: None for scores in per_class.values() for name in scores}
    shown = [m for m in measures(names) if m.group in ("AP", "AP by size", "oLRP")][:9]
    table = _table(title)
    table.add_column("class", style="bold", no_wrap=True)
    for column in shown:
        table.add_column(escape(column.name), justify="right", no_wrap=True)
    for name, scores in per_class.items():
        table.add_row(escape(name), *(show(scores.get(m.name, -1.0)) for m in shown))
    return table


def sizes_table(sizes: FloatArray, *, title: str = "Object sizes") -> Table:
    """Objects per AI-TOD size bin, with a bar.

    Args:
        sizes: [N] square roots of box areas in pixels; N may be 0.
        title: printed above.
    """
    counts = bin_counts(sizes)
    total = sum(counts)
    table = _table(title, caption=_size_summary(sizes))
    table.add_column("bin", style="bold", no_wrap=True)
    table.add_column("size", style="dim", no_wrap=True)
    table.add_column("objects", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=BAR_CELLS)
    for size_bin, count, colour in zip(BINS, counts, BIN_COLOURS, strict=True):
        share = count / total if total else 0.0
        cells = (size_bin.name, size_bin.interval, f"{count:,}", f"{share:.1%}")
        table.add_row(*cells, Text(bar(share), style=colour))
    return table


def _size_summary(sizes: FloatArray) -> str:
    """One line about all objects."""
    finite = sizes[np.isfinite(sizes)]
    if not finite.size:
        return "no objects"
    middle, mean, spread = np.median(finite), finite.mean(), finite.std()
    return (
        f"{finite.size:,} objects, median {middle:.1f} px, mean {mean:.1f} px, sd {spread:.1f} px"
    )


def bar(share: float, *, cells: int = BAR_CELLS) -> str:
    """A horizontal bar of block characters, precise to an eighth of a cell; never empty above 0.

    Args:
        share: filled part in 0-1.
        cells: width in characters.
    """
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    if share > 0:
        eighths = max(eighths, 1)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def problems_table(
    problems: Sequence[ProblemLike], *, per_kind: int = 5, title: str = "Problems"
) -> Table:
    """The problems of a dataset, fatal ones first, a few of every kind and how many more.

    Args:
        problems: any number, also none.
        per_kind: rows of one kind before the rest is only counted.
        title: printed above.
    """
    fatal = sum(p.severity == "fatal" for p in problems)
    caption = f"{fatal:,} fatal, {len(problems) - fatal:,} tolerated" if problems else "none found"
    table = _table(title, caption=caption)
    table.add_column("severity", no_wrap=True)
    table.add_column("problem", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("what was found", overflow="fold")
    ordered = sorted(problems, key=lambda p: (p.severity != "fatal", p.kind))
    for (severity, kind), group in groupby(ordered, key=lambda p: (p.severity, p.kind)):
        members = list(group)
        style = "bold red" if severity == "fatal" else "yellow"
        for problem in members[:per_kind]:
            where, message = escape(place(problem)), escape(problem.message)
            table.add_row(Text(severity, style=style), escape(kind), where, message)
        if len(members) > per_kind:
            table.add_row("", "", Text(f"and {len(members) - per_kind:,} more", style="dim"), "")
        table.add_section()
    return table


def place(problem: ProblemLike) -> str:
    """Where a problem is: file, image and annotation, as far as known."""
    parts = [str(problem.file)] if problem.file is not None else []
    if problem.image_id is not None:
        parts.append(f"image {problem.image_id}")
    if problem.annotation_id is not None:
        parts.append(f"annotation {problem.annotation_id}")
    return ", ".join(parts)


def recipes_table(rows: Iterable[RecipeRow], *, title: str = "Recipes") -> Table:
    """The packaged recipes with their published AP.

    Args:
        rows: one per recipe.
        title: printed above.
    """
    note = "AP as published, by the measure of the data set (tinyperson: AP50_tiny)"
    table = _table(title, caption=note)
    table.padding, table.show_edge = 0, False  # five columns in 80 characters
    table.add_column("recipe", style="bold", no_wrap=True)
    table.add_column("AP", justify="right", no_wrap=True)
    for heading in ("detector", "assigner", "dataset"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        score = "-" if row.published is None else show(row.published)
        cells = (row.name, score, row.detector, row.assigner, row.dataset)
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _table(title: str, *, caption: str | None = None) -> Table:
    """An empty table in the style of all."""
    return Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        pad_edge=False,
    )
