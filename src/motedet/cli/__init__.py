"""The `motedet` command: thin, no logic. Heavy packages are imported inside the verbs."""

import logging
import sys
from typing import Annotated

import typer

from motedet.cli import (
    data,
    demo,
    evaluate,
    export,
    import_checkpoint,
    info,
    predict,
    recipes,
    report,
    scale_match,
    score,
    tile,
    train,
)
from motedet.errors import MotedetError

app = typer.Typer(
    name="motedet",
    help="Detection of tiny objects (2-32 px), built around label assignment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.command("predict")(predict.predict)
app.command("tile")(tile.tile)
app.command("scale-match")(scale_match.scale_match)
app.command("export")(export.export)
app.command("info")(info.info)
app.command("recipes")(recipes.recipes)
app.command("import-checkpoint")(import_checkpoint.import_checkpoint)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")


@app.callback()
def options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Detection of tiny objects (2-32 px), built around label assignment."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("motedet").setLevel(logging.INFO)
    logging.getLogger("motedet.cli").debug("debug %s, version %s", debug, version)


def main() -> None:
    """Run the command; a foreseen error is one line and exit code 2, Ctrl-C is 130."""
    if "--version" in sys.argv[1:2]:
        from motedet import __version__

        print(f"motedet {__version__}")
        return
    try:
        app()
    except MotedetError as error:
        if "--debug" in sys.argv:
            raise
        stopped = type(error).__name__ == "InterruptedTrainingError"
        print(f"{'' if stopped else 'error: '}{error}", file=sys.stderr)
        sys.exit(130 if stopped else 2)
    except OSError as error:  # a disk is full, a folder cannot be written
        if "--debug" in sys.argv:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
