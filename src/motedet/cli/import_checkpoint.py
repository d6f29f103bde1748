"""`motedet import-checkpoint`."""

from pathlib import Path
from typing import Annotated

import typer


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A published mmdetection-style .pth file.")],
    recipe: Annotated[str, typer.Option(help="The recipe that describes its model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    *,
    settings: Annotated[
        list[str], typer.Option("--set", help="key=value; replaces a leaf of the recipe.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Turn a published checkpoint into a weights file of ours."""
    from motedet.checkpoints import load_state, read_mmdet, save_weights
    from motedet.cli.score import refuse_existing
    from motedet.engine.weights import build_untrained
    from motedet.errors import RecipeError
    from motedet.recipes import load_recipe

    refuse_existing([output], force=force)
    resolved = load_recipe(recipe, settings)
    classes = resolved.classes or resolved.data.dataset.classes
    if classes is None:
        raise RecipeError(
            f"recipe {recipe!r} takes its classes from the data; name them, for example "
            "--set 'classes=[car, truck]'."
        )
    detector = build_untrained(resolved, len(classes))
    load_state(detector, read_mmdet(file), source=str(file))
    resolved = resolved.model_copy(update={"classes": tuple(classes)})
    save_weights(
        output, detector.state_dict(), recipe_json=resolved.model_dump_json(), classes=classes
    )
    print(f"{output}: {len(detector.state_dict())} entries, recipe {resolved.name}")
