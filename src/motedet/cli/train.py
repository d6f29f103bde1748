"""`motedet train`."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe (motedet recipes) or a .yaml file.")
    ],
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
    *,
    settings: Annotated[
        list[str], typer.Option("--set", help="key=value; replaces a leaf of the recipe.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    run: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", "--run", help="Folder of the run; by default runs/<recipe>."
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from these weights, as far as they fit.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Fetch timm's weights of the backbone.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run there.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run there.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes that share each batch.")] = 1,
    workers: Annotated[
        int | None, typer.Option(help="Processes that load images; by default chosen.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all cores.")] = 0,
) -> None:
    """Train a detector; writes weights, logs, scores, figures and report.html into a run folder."""
    from rich.console import Console

    from motedet import engine
    from motedet.cli.report import make_report
    from motedet.cli.score import show_scores
    from motedet.cli.terminal import quiet_libraries, set_threads
    from motedet.engine.memory import keep_freed_memory
    from motedet.engine.processes import is_main_process
    from motedet.engine.weights import with_pretrained
    from motedet.recipes import load_recipe

    quiet_libraries()
    set_threads(threads)
    keep_freed_memory()
    hardware = engine.Hardware(
        accelerator=accelerator,
        devices=devices,
        workers=workers,
        progress=Console().is_terminal,
    )
    resolved = load_recipe(recipe, settings)
    if pretrained:
        resolved = with_pretrained(resolved, pretrained=True)
    result = engine.train(
        resolved, data, run=run, init=init, resume=resume, force=force, hardware=hardware
    )
    if not is_main_process():
        return
    show_scores(result.scores, title=f"{resolved.name} on val")
    page = make_report(result.run, data)
    print(f"weights  {result.weights}\nreport   {page}")
