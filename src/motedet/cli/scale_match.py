"""`motedet scale-match`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from motedet.data.scale_match.offline import Matched


def scale_match(
    source: Annotated[Path, typer.Argument(help="Data folder or COCO file to resize.")],
    target: Annotated[Path, typer.Argument(help="Data folder or COCO file with the wanted sizes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    *,
    monotone: Annotated[
        bool, typer.Option("--monotone", help="Keep the order of sizes instead of drawing them.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same sizes.")] = 0,
    scale_range: Annotated[
        tuple[float, float], typer.Option(help="Smallest and largest factor.", metavar="LOW HIGH")
    ] = (0.1, 1.0),
    default_scale: Annotated[
        float | None,
        typer.Option(help="Of images without objects. Default: ratio of the median sizes."),
    ] = None,
    bins: Annotated[int, typer.Option(min=3, help="Bins of the size distribution.")] = 100,
    published: Annotated[
        bool,
        typer.Option(
            "--published", help="Measure objects and resize pixels as the published code does."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a matched data set.")] = False,
) -> None:
    """Resize each image of SOURCE so that objects are as large as those of TARGET."""
    from rich.console import Console
    from rich.progress import Progress

    from motedet.data.scale_match import SizeBins
    from motedet.data.scale_match.offline import Matching, match_folder
    from motedet.errors import DataError
    from motedet.report.plots import save_figure
    from motedet.report.size_distributions import size_distributions

    try:
        matching = Matching(
            monotone=monotone,
            bins=SizeBins(bins=bins),
            scale_range=scale_range,
            default_scale=default_scale,
            plus_one=published,
            source_per_image=not published,
            antialias=not published,
            seed=seed,
        )
    except ValueError as error:
        raise DataError(f"--{str(error).replace('_', '-')}") from error
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("resizing", total=None)
        matched = match_folder(
            source,
            target,
            output,
            matching,
            force=force,
            on_image=lambda done, total: progress.update(task, completed=done, total=total),
        )
    picture = size_distributions(
        source=matched.source.sizes, target=matched.target.sizes, matched=matched.matched.sizes
    )
    save_figure(picture, output / "sizes.png")
    _show(matched, output, scale_range=scale_range)


def _show(matched: "Matched", output: Path, *, scale_range: tuple[float, float]) -> None:
    """What came out, in a few lines."""
    from motedet.data.scale_match import largest_gap

    for name, found in (
        ("source", matched.source),
        ("target", matched.target),
        ("matched", matched.matched),
    ):
        gap = largest_gap(found, matched.target)
        apart = f", largest gap to the target {gap:.3f}" if name != "target" else ""
        print(f"{name:8} {len(found):>8,} objects, median {found.median:.1f} px{apart}")
    clipped = matched.outcomes.get("out of range", 0)
    low, high = scale_range
    advice = "; widen --scale-range to follow the target closer" if clipped else ""
    print(
        f"{clipped} of {matched.num_images} images beyond the factors {low:g} to {high:g} "
        f"({clipped / matched.num_images:.0%}){advice}"
    )
    if empty := matched.outcomes.get("no objects", 0):
        print(f"{empty} images without objects, by the default factor")
    if vanished := matched.outcomes.get("vanished", 0):
        print(f"{vanished} images by the default factor, because all objects would be under 1 px")
    if matched.left_out:
        print(f"{matched.left_out} objects and regions left out that became smaller than 1 px")
    names = ", ".join(f"{name}.json" for name in matched.splits)
    print(f"wrote {matched.num_images} images, {names}, sizes.png and scale_match.json: {output}")
