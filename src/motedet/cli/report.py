"""`motedet report`: the page and the figures of a run, from what its folder holds."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder that `motedet train` wrote.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
) -> None:
    """Write report.html and the figures of a run anew."""
    print(make_report(run, data))


def make_report(run: Path, data: Path) -> Path:
    """Write figures and `report.html` into a run folder.

    Raises:
        DataError: if the folder holds no finished run.
    """
    from motedet.engine.fit import open_data
    from motedet.engine.run_folder import RunFolder
    from motedet.errors import DataError
    from motedet.recipes import parse_recipe
    from motedet.report.page import write_report
    from motedet.report.run import merge_history, read_detections, run_context, write_run_figures

    folder = RunFolder(run)
    if not folder.metrics.is_file():
        raise DataError(f"{run}: no finished run there, {folder.metrics.name} is missing.")
    recipe_yaml = folder.recipe.read_text(encoding="utf-8")
    recipe = parse_recipe(recipe_yaml, source=str(folder.recipe))
    catalogs = open_data(recipe, data)
    context = run_context(
        recipe,
        catalogs,
        command=shlex.join(["motedet", "train", str(folder.recipe), "--data", str(data)]),
        recipe_yaml=recipe_yaml,
        scores=json.loads(folder.metrics.read_text(encoding="utf-8")),
        found=read_detections(folder.detections, catalogs[1]),
        history=merge_history(folder.histories(), folder.history),
    )
    write_run_figures(folder.figures, context)
    return write_report(run, context)
