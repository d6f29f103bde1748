"""`motedet demo`: the whole way on scenes that the program makes itself."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("runs/demo"),
    *,
    seed: Annotated[int, typer.Option(help="Of the scenes and of the training.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes all cores.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a demo that is there.")] = False,
) -> None:
    """Synthetic scenes -> train -> score -> predict -> report, in a few minutes on two cores."""
    from motedet.cli.data import synthetic
    from motedet.cli.predict import predict
    from motedet.cli.train import train

    data, run = folder / "data", folder / "run"
    print("1/3  making synthetic aerial scenes", flush=True)
    synthetic(data, seed=seed, train=SCENES, val=HELD_OUT, force=force)
    print("2/3  training from scratch", flush=True)
    train(
        "demo",
        data,
        settings=[f"train.seed={seed}"],
        run=run,
        threads=threads,
        force=force,
        accelerator="auto",
    )
    print("3/3  predicting held-out scenes", flush=True)
    scenes = sorted((data / "images").glob("val_*.png"))[:DRAWN]
    predict(
        run / "best.safetensors",
        [str(s) for s in scenes],
        folder / "predictions",
        threads=threads,
        force=force,
    )
    print(f"\nlook at {run / 'report.html'}\nand at  {folder / 'predictions' / 'drawings'}")


SCENES, HELD_OUT, DRAWN = 160, 40, 8
