"""`motedet score`, and how scores are shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from motedet.errors import DataError

if TYPE_CHECKING:
    from motedet.metrics import AnyProtocol, Scores


NAMES: Final = "aitod, aitod_rfla, coco, tinyperson, tinyperson_old, tinyperson_script, visdrone"
Bins = Annotated[
    str | None,
    typer.Option(
        "--bins",
        help="Sides in pixels where size bins begin, such as 2,8,16,32: the COCO measures in bins "
        "of one's own, instead of a protocol.",
    ),
]


def score(
    ground_truth: Annotated[Path, typer.Argument(help="COCO annotations (.json or .json.gz).")],
    detections: Annotated[Path, typer.Argument(help="COCO results (.json or .json.gz).")],
    *,
    protocol: Annotated[str | None, typer.Option(help=f"One of {NAMES}; by default aitod.")] = None,
    bins: Bins = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Score a detections file against annotations; no model needed."""
    from motedet.metrics import PROTOCOLS, read_ground_truth, read_results

    chosen = chosen_protocol(protocol, bins) or PROTOCOLS["aitod"]
    refuse_existing([json_file], force=force)
    truth = read_ground_truth(ground_truth)
    scores = chosen.score(truth, read_results(detections, truth))
    title = f"{detections.name}, protocol {protocol or chosen.kind}"
    show_scores(scores, title=title, json_file=json_file)


def chosen_protocol(name: str | None, bins: str | None) -> "AnyProtocol | None":
    """The protocol of `--protocol` or `--bins`; None without either.

    Raises:
        DataError: if both are given, the name is unknown, or the bins are not ascending numbers.
    """
    from motedet.metrics import PROTOCOLS, BinsProtocol

    if name is not None and bins is not None:
        raise DataError(f"give --protocol {name} or --bins {bins}, not both: bins are a protocol.")
    if name is not None and name not in PROTOCOLS:
        raise DataError(f"--protocol must be one of {', '.join(PROTOCOLS)}; found {name!r}.")
    if name is not None:
        return PROTOCOLS[name]
    if bins is None:
        return None
    try:
        return BinsProtocol(sides=tuple(float(side) for side in bins.split(",")))
    except ValueError as error:
        raise DataError(
            f"--bins must be ascending numbers such as 2,8,16,32; found {bins!r}."
        ) from error


def show_scores(scores: "Scores", *, title: str, json_file: Path | None = None) -> None:
    """Print the table and the notes, and write the JSON."""
    from rich.console import Console
    from rich.markup import escape

    from motedet.files import write_json
    from motedet.report.tables import MAX_CLASS_COLUMNS, class_scores_table, scores_table

    console = Console()
    console.print(scores_table(scores.values, scores.per_class, title=title))
    if len(scores.per_class) > MAX_CLASS_COLUMNS:
        console.print(class_scores_table(scores.per_class))
    for note in scores.notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}")
    if scores.stamp is not None:
        console.print(f"[dim]{escape(str(scores.stamp))}[/dim]", soft_wrap=True)
    if json_file is not None:
        write_json(json_file, scores.as_dict())


def refuse_existing(paths: Iterable[Path | None], *, force: bool) -> None:
    """Raise if one of the files exists and `force` is not set."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise DataError(
                f"{path}: exists already; choose another name, or replace it with --force."
            )
