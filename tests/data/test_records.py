from pathlib import Path

import numpy as np
import pytest

from motedet.data.records import (
    Catalog,
    ImageRecord,
    Problem,
    Row,
    box_sizes,
    count_kinds,
    refuse_fatal,
)
from motedet.data.tiling import Window
from motedet.errors import DataError


def _problem(severity: str, kind: str) -> Problem:
    return Problem(
        severity="fatal" if severity == "fatal" else "tolerated",
        kind=kind,
        file=Path("a.json"),
        image_id=3,
        annotation_id=4,
        message="found that; do this.",
    )


def test_record_of_rows_keeps_every_field() -> None:
    rows = [Row((1, 2, 3, 5), 0, 9, 6.0), Row((0, 0, 1, 1), 1, 8, 0.5, crowd=True, ignore=True)]
    record = ImageRecord.of(5, Path("x.png"), size=(48, 64), rows=rows)
    assert (record.height, record.width, len(record)) == (48, 64, 2)
    assert record.boxes.tolist() == [[1, 2, 3, 5], [0, 0, 1, 1]]
    assert record.crowd.tolist() == [False, True]
    assert record.ignore.tolist() == [False, True]
    assert record[np.array([False, True])].annotation_ids.tolist() == [8]


def test_crowds_of_any_class_are_the_exception() -> None:
    rows = [
        Row((1, 2, 3, 5), 0, 9, 6.0),
        Row((0, 0, 9, 9), 0, 8, 81.0, crowd=True, any_class=True),
    ]
    record = ImageRecord.of(5, Path("x.png"), size=(48, 64), rows=rows)
    assert record.any_class.tolist() == [False, True]
    assert record[record.crowd].any_class.tolist() == [True]
    plain = ImageRecord(
        image_id=1,
        path=Path("x.png"),
        width=9,
        height=9,
        boxes=np.zeros((2, 4)),
        labels=np.zeros(2, np.int64),
        crowd=np.ones(2, bool),
        ignore=np.zeros(2, bool),
        areas=np.zeros(2),
        annotation_ids=np.arange(2),
    )
    assert plain.any_class.tolist() == [False, False]


def test_record_without_rows_has_empty_arrays() -> None:
    record = ImageRecord.of(5, Path("x.png"), size=(48, 64), rows=[])
    assert record.boxes.shape == (0, 4)
    assert record.labels.dtype == np.int64


def test_catalog_sizes_leave_crowds_out() -> None:
    rows = [Row((0, 0, 4, 9), 0, 1, 36), Row((0, 0, 40, 40), 0, 2, 1600, crowd=True)]
    record = ImageRecord.of(1, Path("x.png"), size=(48, 64), rows=rows)
    catalog = Catalog(classes=("a",), category_ids=(1,), records=(record,), source=Path("s"))
    assert catalog.sizes().tolist() == [6.0]
    assert catalog.num_objects == 2


def test_box_sizes_of_broken_boxes_are_zero() -> None:
    boxes = np.array([[0, 0, np.nan, 4], [5, 5, 1, 1], [0, 0, 3, 3]])
    assert box_sizes(boxes).tolist() == [0, 0, 3]


def test_refuse_fatal_names_the_first_and_counts_the_rest() -> None:
    refuse_fatal([])
    refuse_fatal([_problem("tolerated", "x")])
    problems = [_problem("tolerated", "x"), _problem("fatal", "y"), _problem("fatal", "z")]
    with pytest.raises(DataError, match=r"a.json, image 3, annotation 4: y: .* \(1 more fatal"):
        refuse_fatal(problems)


def test_count_kinds_puts_the_most_frequent_first() -> None:
    problems = [_problem("fatal", "x"), _problem("fatal", "y"), _problem("fatal", "y")]
    assert list(count_kinds(problems).items()) == [("y", 2), ("x", 1)]


def test_marks_follow_the_rows_and_are_false_where_none_has_them() -> None:
    box = (0.0, 0.0, 4.0, 9.0)
    rows = [Row(box, 0, 1, 36.0), Row(box, 0, 2, 36.0, marks=frozenset({"uncertain"}))]
    record = ImageRecord.of(1, Path("x.png"), size=(48, 64), rows=rows)
    assert record.marked("uncertain").tolist() == [False, True]
    assert record.marked("logo").tolist() == [False, False]
    assert record[np.array([False, True])].marked("uncertain").tolist() == [True]
    assert ImageRecord.of(1, Path("x.png"), size=(48, 64), rows=[]).marked("logo").shape == (0,)


def test_a_record_can_be_a_part_of_a_file() -> None:
    window = Window(x=5, y=6, width=64, height=48)
    record = ImageRecord.of(1, Path("x.png"), size=window.size, rows=[], window=window)
    assert record.window == window
    assert (record.height, record.width) == window.size
