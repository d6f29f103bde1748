"""Objects that a window shows in part."""

from dataclasses import replace
from pathlib import Path

import pytest

from motedet.data.cut_objects import AnyCutRule, CornerRule, SplitRule, VisibleShare
from motedet.data.records import ImageRecord, Row
from motedet.data.tiling import Window

WINDOW = Window(x=0, y=0, width=32, height=32)
RULES: list[AnyCutRule] = [VisibleShare(), CornerRule(), SplitRule()]


def record(*rows: Row) -> ImageRecord:
    return ImageRecord.of(1, Path("a.png"), size=(64, 64), rows=rows)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_nothing_one_and_boxes_without_area(rule: AnyCutRule) -> None:
    assert len(rule(record(), WINDOW)) == 0
    seen = rule(
        record(Row((4.0, 5.0, 14.0, 15.0), 0, 1, 100.0)), Window(x=2, y=3, width=32, height=30)
    )
    assert seen.boxes.tolist() == [[2, 2, 12, 12]]
    assert seen.areas.tolist() == [100]
    assert (seen.height, seen.width) == (30, 32)
    assert len(rule(record(Row((4.0, 5.0, 4.0, 15.0), 0, 1, 0.0)), WINDOW)) == 0


def test_objects_cut_too_short_are_ignored() -> None:
    whole = record(
        Row((22.0, 0.0, 32.0, 10.0), 0, 1, 100.0),  # all of it
        Row((25.0, 0.0, 35.0, 10.0), 0, 2, 50.0),  # 0.7 of it
        Row((26.0, 0.0, 36.0, 10.0), 1, 3, 100.0),  # 0.6 of it
        Row((0.0, 30.0, 60.0, 64.0), 1, 4, 2040.0, crowd=True),
        Row((40.0, 40.0, 44.0, 44.0), 1, 5, 16.0),  # elsewhere
        Row((-10.0, 5.0, 3.0, 9.0), 0, 6, 52.0),  # over the border of the image: all that is seen
    )
    seen = VisibleShare()(whole, WINDOW)
    assert seen.annotation_ids.tolist() == [1, 2, 3, 4, 6]
    assert seen.crowd.tolist() == [False, False, True, True, False]
    assert seen.boxes[1].tolist() == [25, 0, 32, 10]
    assert seen.areas[:3].tolist() == pytest.approx([100, 35, 60])
    dropped = VisibleShare(partial="drop")(whole, WINDOW)
    assert dropped.annotation_ids.tolist() == [1, 2, 4, 6]
    assert dropped.crowd.tolist() == [False, False, True, False]
    kept = VisibleShare(partial="keep")(whole, WINDOW)
    assert kept.annotation_ids.tolist() == [1, 2, 3, 4, 6]
    assert kept.crowd.tolist() == [False, False, False, True, False]


def test_corners_count_last_pixels_and_keep_what_is_ignored() -> None:
    half = Row((27.0, 0.0, 38.0, 11.0), 0, 1, 121.0)  # 4 of 10 steps to the right
    seen = CornerRule(min_visible=0.4)(record(half, half._replace(ignore=True)), WINDOW)
    assert seen.boxes.tolist() == [[27, 0, 32, 11]] * 2
    assert seen.areas.tolist() == [121, 121]  # as it was
    rest = CornerRule(min_visible=0.41)(record(half, half._replace(ignore=True)), WINDOW)
    assert rest.ignore.tolist() == [True]
    narrow = Row((10.0, 0.0, 12.0, 30.0), 0, 1, 60.0)
    assert len(CornerRule()(record(narrow), WINDOW)) == 0


def test_the_splitter_compares_square_roots() -> None:
    half = record(Row((27.0, 0.0, 37.0, 10.0), 0, 1, 7.0))
    seen = SplitRule(min_visible=0.7)(half, WINDOW)
    assert seen.boxes.tolist() == [[27, 0, 32, 10]]
    assert seen.areas.tolist() == [50]
    assert len(SplitRule(min_visible=0.71)(half, WINDOW)) == 0


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"min_visible must be within \[0, 1\]; got 1.5"):
        replace(VisibleShare(), min_visible=1.5)
