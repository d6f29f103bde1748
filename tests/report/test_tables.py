import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from motedet.report.tables import (
    RecipeRow,
    bar,
    class_scores_table,
    problems_table,
    recipes_table,
    scores_table,
    sizes_table,
)


@dataclass(frozen=True)
class FakeProblem:
    severity: Literal["fatal", "tolerated"]
    kind: str
    file: str
    image_id: int | None
    annotation_id: int | None
    message: str


def printed(table: Table, width: int = 140) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_scores_show_three_decimals_and_a_dash_where_undefined() -> None:
    text = printed(scores_table({"AP": 0.4236, "APvt": -1.0, "oLRP_Loc": math.nan}, {}))
    lines = [line.split() for line in text.splitlines()]
    rows = {cells[0]: cells[1] for cells in lines if len(cells) > 1}
    assert rows["AP"] == "0.424"
    assert rows["APvt"] == "-"
    assert rows["oLRP_Loc"] == "-"


def test_scores_have_a_column_per_class_while_they_fit() -> None:
    few = printed(scores_table({"AP": 0.5}, {"car": {"AP": 0.25}, "bus": {"AP": 0.75}}))
    assert "car" in few
    assert "0.250" in few
    many = {f"class{i}": {"AP": 0.125} for i in range(9)}
    assert "class3" not in printed(scores_table({"AP": 0.5}, many))
    assert "class3" in printed(class_scores_table(many))


def test_scores_of_nothing_and_names_with_markup() -> None:
    assert "Scores" in printed(scores_table({}, {}))
    assert "[bold]" in printed(class_scores_table({"[bold]": {"AP": 0.1}}))


def test_size_meanings_follow_the_protocol() -> None:
    assert "16 to 32 px" in printed(scores_table({"APvt": 0.1, "APs": 0.2}, {}))
    assert "under 32 px" in printed(scores_table({"APs": 0.2, "APl": 0.1}, {}))


def test_sizes_count_half_open_bins() -> None:
    text = printed(sizes_table(np.array([1.0, 2.0, 7.99, 8.0, 16.0, 31.0, 32.0, 500.0])))
    for expected in ("below", "very tiny", "tiny", "small", "medium"):
        assert expected in text
    assert [r.split()[0] for r in _cells(text, "%")] == ["1", "2", "1", "2", "2"]


def _cells(text: str, sign: str) -> list[str]:
    """What follows the interval in the lines of bins."""
    lines = [line for line in text.splitlines() if sign in line]
    return [line.split("px", 1)[1].replace("and up", "").strip() for line in lines]


def test_sizes_of_no_objects() -> None:
    text = printed(sizes_table(np.zeros(0)))
    assert "no objects" in text
    assert "█" not in text


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, ""), (1.0, "████"), (0.5, "██"), (0.001, "▏"), (2.0, "████")],
    ids=["none", "all", "half", "a trace stays visible", "clipped"],
)
def test_bar(share: float, expected: str) -> None:
    assert bar(share, cells=4) == expected


def test_problems_come_fatal_first_and_are_cut_per_kind() -> None:
    problems = [
        FakeProblem("tolerated", "outside", "train.json", i, 10 + i, "box leaves") for i in range(9)
    ]
    problems.append(FakeProblem("fatal", "missing image", "a.png", 3, None, "not [there]"))
    text = printed(problems_table(problems, per_kind=2))
    assert text.index("missing image") < text.index("outside")
    assert "not [there]" in text
    assert text.count("box leaves") == 2
    assert "and 7 more" in text
    assert "image 0, annotation 10" in text
    assert "1 fatal, 9 tolerated" in text


def test_no_problems() -> None:
    assert "none found" in printed(problems_table([]))


def test_recipes() -> None:
    rows = [
        RecipeRow(name="rfla/x", detector="FCOS", assigner="RFLA", dataset="A", published=0.211),
        RecipeRow(name="demo", detector="FCOS", assigner="RFLA", dataset="scenes"),
    ]
    text = printed(recipes_table(rows))
    assert "0.211" in text
    assert "demo" in text
