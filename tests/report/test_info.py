import io

from rich.console import Console
from rich.table import Table

from motedet.report.info import LevelRow, costs_table, levels_table


def printed(table: Table, *, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def test_costs_add_up() -> None:
    text = printed(costs_table({"backbone": (1_500_000, 2_000_000), "head": (500_000, 0)}))
    assert text.splitlines()[-2].split() == ["sum", "2.00", "2.00"]


def test_points_and_unknown_fields() -> None:
    level = LevelRow(stride=4, cells=(2, 3), receptive_field=None, priors=[(0, 0)])
    assert printed(levels_table([level])).splitlines()[-2].split() == [
        "4",
        "2",
        "x",
        "3",
        "-",
        "point",
    ]


def test_a_size_is_never_split_between_lines() -> None:
    sizes = [(16.0, 8.0), (96.0, 96.0), (271.5, 135.7)] * 4
    level = LevelRow(stride=64, cells=(5, 5), receptive_field=849.0, priors=sizes)
    text = printed(levels_table([level]))
    assert max(map(len, text.splitlines())) <= 80
    assert (text.count("16x8"), text.count("96x96"), text.count("272x136")) == (4, 4, 4)
