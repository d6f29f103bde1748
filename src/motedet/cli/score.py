"""`motedet score`, and how scores are shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from motedet.errors import DataError

if TYPE_CHECKING:
    from motedet.metrics import AnyProtocol, Scores


def score(
    ground_truth: Annotated[Path, typer.Argument(help="COCO annotations (.json or .json.gz).")],
    detections: Annotated[Path, typer.Argument(help="COCO results (.json or .json.gz).")],
    *,
    protocol: Annotated[str, typer.Option(help="aitod or coco.")] = "aitod",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Score a detections file against annotations; no model needed."""
    from motedet.metrics import read_ground_truth, read_results

    chosen = named_protocol(protocol)
    refuse_existing([json_file], force=force)
    truth = read_ground_truth(ground_truth)
    scores = chosen.score(truth, read_results(detections, truth))
    show_scores(scores, title=f"{detections.name}, protocol {protocol}", json_file=json_file)


def named_protocol(name: str) -> "AnyProtocol":
    """A protocol by the name that the command line uses."""
    from motedet.metrics import AITODProtocol, COCOProtocol

    protocols: dict[str, AnyProtocol] = {"aitod": AITODProtocol(), "coco": COCOProtocol()}
    if name not in protocols:
        raise DataError(f"--protocol must be one of {', '.join(protocols)}; found {name!r}.")
    return protocols[name]


def show_scores(scores: "Scores", *, title: str, json_file: Path | None = None) -> None:
    """Print the table and the notes, and write the JSON."""
    from rich.console import Console

    from motedet.files import write_json
    from motedet.report.tables import MAX_CLASS_COLUMNS, class_scores_table, scores_table

    console = Console()
    console.print(scores_table(scores.values, scores.per_class, title=title))
    if len(scores.per_class) > MAX_CLASS_COLUMNS:
        console.print(class_scores_table(scores.per_class))
    for note in scores.notes:
        console.print(f"[yellow]note:[/yellow] {note}")
    if json_file is not None:
        write_json(json_file, scores.as_dict())


def refuse_existing(paths: Iterable[Path | None], *, force: bool) -> None:
    """Raise if one of the files exists and `force` is not set."""
    for path in paths:
        if path is not None and path.exists() and not force:
            raise DataError(
                f"{path}: exists already; choose another name, or replace it with --force."
            )
