import pytest
from PIL import Image

from motedet.report.insets import choose_insets, inset_strip
from motedet.report.marks import Mark, Outcome


def mark(x: float, side: float, outcome: Outcome = "detection") -> Mark:
    return Mark((x, 10, x + side, 10 + side), outcome, 0, 0.5)


def test_the_tiniest_are_chosen_and_numbered() -> None:
    marks = [mark(0, 9), mark(50, 3), mark(100, 60), mark(150, 5)]
    chosen = choose_insets(marks, limit=2, below=24)
    assert [(c.mark, c.number) for c in chosen] == [(1, 1), (3, 2)]


def test_mistakes_come_before_hits() -> None:
    marks = [mark(0, 3, "found"), mark(50, 9, "missed"), mark(100, 6, "false")]
    assert [c.mark for c in choose_insets(marks, limit=4, below=24)] == [2, 1, 0]


def test_neighbours_share_a_panel() -> None:
    assert len(choose_insets([mark(0, 3), mark(2, 4)], limit=4, below=24)) == 1


@pytest.mark.parametrize("limit", [0, 4])
def test_nothing_to_show(limit: int) -> None:
    assert choose_insets([], limit=limit, below=24) == []
    assert choose_insets([mark(0, 60)], limit=limit, below=24) == []


@pytest.mark.parametrize("beside", [(900, 500), (500, 900), (40, 40)])
def test_the_strip_fits_beside_the_picture(beside: tuple[int, int]) -> None:
    marks = [mark(40.0 * i, 4) for i in range(6)]
    strip = inset_strip(
        Image.new("RGB", (300, 100)),
        marks,
        choose_insets(marks, limit=6, below=24),
        classes=["a"],
        zoom=8,
        beside=beside,
    )
    if beside == (40, 40):
        assert strip is None
    else:
        assert strip is not None
        wide = beside[0] > beside[1]
        assert (strip.width == beside[0]) if wide else (strip.height == beside[1])
