import gc

import numpy as np
import pytest

from motedet.errors import DataError
from motedet.metrics.entries import flag_column, id_column, optional_column, uncollected


def test_flags_of_no_entries_and_of_any_spelling() -> None:
    assert flag_column([], key="ignore").tolist() == []
    entries: list[dict[str, object]] = [{}, {"ignore": 0}, {"ignore": 1}, {"ignore": True}]
    assert flag_column(entries, key="ignore").tolist() == [False, False, True, True]


def test_optional_numbers_have_a_default_each() -> None:
    entries: list[dict[str, object]] = [{"size": 3}, {}, {"size": 2.5}]
    column = optional_column(entries, "annotations", key="size", default=np.array([7.0, 8.0, 9.0]))
    assert column.tolist() == [3.0, 8.0, 2.5]
    assert optional_column([], "annotations", key="size", default=np.zeros(0)).tolist() == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("big", r"annotations\[1\]: 'size' must be a number; got 'big'"),
        (float("inf"), r"annotations\[1\]: size must be finite"),
    ],
    ids=["text", "infinite"],
)
def test_bad_optional_numbers_are_named_by_their_row(value: object, message: str) -> None:
    entries: list[dict[str, object]] = [{}, {"size": value}]
    with pytest.raises(DataError, match=message):
        optional_column(entries, "annotations", key="size", default=np.zeros(2))


def test_ids_beyond_64_bits_are_refused() -> None:
    with pytest.raises(DataError, match="does not fit into 64 bits"):
        id_column([{"id": 2**64}], "images", key="id")


def test_collector_runs_again_afterwards() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
