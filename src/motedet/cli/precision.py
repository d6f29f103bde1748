"""The option that says in which numbers a detector computes."""

from typing import Annotated, Literal

import typer

Precision = Annotated[
    Literal["32", "bf16"],
    typer.Option(help="bf16: faster where the CPU or GPU has it; scores move a little."),
]
