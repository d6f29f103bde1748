from pathlib import Path

import numpy as np
import pytest

from motedet.data import Catalog, ImageRecord
from motedet.engine.class_order import order_classes
from motedet.errors import DataError


def catalog(*classes: str) -> Catalog:
    count = len(classes)
    record = ImageRecord(
        image_id=1,
        path=Path("a.png"),
        width=9,
        height=9,
        boxes=np.zeros((count, 4)),
        labels=np.arange(count),
        crowd=np.zeros(count, bool),
        ignore=np.zeros(count, bool),
        areas=np.zeros(count),
        annotation_ids=np.arange(count),
    )
    ids = tuple(10 * (i + 1) for i in range(count))
    return Catalog(classes=classes, category_ids=ids, records=(record,), source=Path("gt.json"))


def test_equal_order_changes_nothing() -> None:
    given = catalog("a", "b")
    assert order_classes(given, ("a", "b")) is given


def test_labels_and_category_ids_move_together() -> None:
    ordered = order_classes(catalog("a", "b", "c"), ("c", "a", "b"))
    assert ordered.classes == ("c", "a", "b")
    assert ordered.category_ids == (30, 10, 20)
    assert ordered.records[0].labels.tolist() == [1, 2, 0]


@pytest.mark.parametrize("classes", [("a", "x"), ("a",), ("a", "b", "c")])
def test_other_classes_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"gt\.json: its classes are \['a', 'b'\]"):
        order_classes(catalog("a", "b"), classes)
