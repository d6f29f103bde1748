"""`motedet data check` and `motedet data synthetic`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from motedet.data import Problem

app = typer.Typer(help="Look at data, or make some.", no_args_is_help=True)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A COCO file, or a folder of any known format.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write sizes.png and problems.csv here.")
    ] = None,
    show: Annotated[int, typer.Option(help="Problems of each kind to list.")] = 5,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Count images, objects and sizes, and name every problem; exit code 2 if one is fatal."""
    from rich.console import Console

    from motedet.cli.score import refuse_existing
    from motedet.data.check import check_dataset
    from motedet.errors import DataError
    from motedet.report.plots import save_figure, size_histogram
    from motedet.report.tables import problems_table, sizes_table

    files = [output / "sizes.png", output / "problems.csv"] if output else []
    refuse_existing(files, force=force)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.")
    report = check_dataset(path)
    console = Console()
    print(f"{path}: {report.num_images} images, {report.num_objects} objects")
    console.print(sizes_table(report.sizes))
    if report.problems:
        console.print(problems_table(report.problems, per_kind=show))
    if output is not None:
        save_figure(size_histogram({path.name: report.sizes}), files[0])
        _write_problems(files[1], report.problems)
        print(f"wrote {files[0]} and {files[1]}")
    if any(p.severity == "fatal" for p in report.problems):
        raise typer.Exit(2)


@app.command("synthetic")
def synthetic(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must not hold a data set.")],
    *,
    train: Annotated[int, typer.Option(min=1, help="Training scenes.")] = 160,
    val: Annotated[int, typer.Option(min=1, help="Validation scenes.")] = 40,
    seed: Annotated[int, typer.Option(help="Same seed, same scenes.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace the data set there.")] = False,
) -> None:
    """Write procedural aerial scenes with tiny objects as a COCO folder."""
    from motedet.cli.score import refuse_existing
    from motedet.data.synthetic import SceneSpec, write_scenes

    refuse_existing([folder / "annotations"], force=force)
    write_scenes(folder, SceneSpec(), train=train, val=val, seed=seed)
    print(f"wrote {train} + {val} scenes to {folder}")


def _write_problems(path: Path, problems: "Sequence[Problem]") -> None:
    """All problems as a table that spreadsheets read."""
    import csv
    import io

    from motedet.files import write_text

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["severity", "kind", "file", "image_id", "annotation_id", "message"])
    for p in problems:
        table.writerow([p.severity, p.kind, p.file, p.image_id, p.annotation_id, p.message])
    write_text(path, text.getvalue())
