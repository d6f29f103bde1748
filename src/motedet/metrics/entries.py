"""Lists of COCO entries as columns of numbers, checked once; the entries are only read."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import cast

import numpy as np
from numpy.typing import NDArray

from motedet.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Entry = Mapping[str, object]


def checked_sections(ground_truth: object) -> dict[str, Sequence[Entry]]:
    """The lists of a COCO dictionary that matter here.

    Raises:
        DataError: saying what is missing.
    """
    if not isinstance(ground_truth, Mapping):
        raise DataError(
            "the ground truth must be a COCO object with images, annotations and categories; "
            f"got {_short(ground_truth)}."
        )
    sections: dict[str, Sequence[Entry]] = {}
    for key in ("images", "annotations", "categories"):
        if key not in ground_truth:
            raise DataError(
                f"the ground truth needs a list named {key!r}; it has {[*ground_truth]}."
            )
        sections[key] = checked_entries(ground_truth[key], key)
    return sections


def checked_entries(entries: object, section: str) -> Sequence[Entry]:
    """The value itself, if it is a list of objects.

    Raises:
        DataError: naming the section or the first other entry.
    """
    if not isinstance(entries, list | tuple):
        raise DataError(f"{section} must be a list; got {_short(entries)}.")
    if not set(map(type, entries)) <= {dict}:
        for row, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise DataError(f"{section}[{row}] must be an object; got {_short(entry)}.")
    return entries


@contextmanager
def uncollected() -> Iterator[None]:
    """Hold back the cyclic garbage collector while millions of small objects are made.

    They form no cycles, and looking for some again and again takes a third of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def number_column(entries: Sequence[Entry], section: str, *, key: str) -> Floats:
    """[N] one number of each entry."""
    return _checked_numbers(_column(entries, section, key=key), section, key=key)


def optional_column(entries: Sequence[Entry], section: str, *, key: str, default: Floats) -> Floats:
    """[N] one finite number of each entry, and another where there is none.

    Args:
        entries: N entries.
        section: what their list is called, for messages.
        key: what they may have.
        default: [N] for those without.
    """
    values = [entry.get(key, other) for entry, other in zip(entries, default.tolist(), strict=True)]
    numbers = _checked_numbers(values, section, key=key)
    refuse(~np.isfinite(numbers), entries, section, f"{key} must be finite")
    return numbers


def flag_column(entries: Sequence[Entry], *, key: str) -> Bools:
    """[N] whether each entry has a key with a value other than 0."""
    return np.array([bool(entry.get(key, 0)) for entry in entries], dtype=np.bool_)


def id_column(entries: Sequence[Entry], section: str, *, key: str) -> Ints:
    """[N] one id of each entry."""
    values = _column(entries, section, key=key)
    if not set(map(type, values)) <= {int}:
        _check_each(values, section, key=key, rule="a whole number", good=_is_id)
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{section}: a {key!r} does not fit into 64 bits.") from error


def unique_ids(entries: Sequence[Entry], section: str) -> Ints:
    """[N] ascending ids of the images or categories."""
    ids = id_column(entries, section, key="id")
    ascending, counts = np.unique(ids, return_counts=True)
    if not len(ascending):
        raise DataError(f"the ground truth has no {section}: there is nothing to score.")
    if len(ascending) < len(ids):
        twice = int(ascending[counts > 1][0])
        raise DataError(f"{section}: id {twice} occurs {int(counts.max())} times.")
    return ascending


def places(entries: Sequence[Entry], section: str, *, key: str, known: Ints) -> Ints:
    """[N] position of each entry's id among the known ones."""
    ids = id_column(entries, section, key=key)
    place = np.searchsorted(known, ids).clip(max=len(known) - 1)  # [N]
    unknown = known[place] != ids
    if unknown.any():
        row = int(unknown.argmax())
        kind = key.removesuffix("_id")
        raise DataError(
            f"{section}[{row}]: {key} {int(ids[row])} is not in the ground truth, which has "
            f"{len(known)} {kind} ids from {int(known[0])} to {int(known[-1])}."
        )
    return place.astype(np.int64)


def box_column(entries: Sequence[Entry], section: str) -> Floats:
    """[N, 4] the boxes as they stand in the file, xywh."""
    values = _column(entries, section, key="bbox")
    rule = "four numbers [x, y, width, height]"
    if not set(map(type, values)) <= {list, tuple}:
        _check_each(values, section, key="bbox", rule=rule, good=_is_box)
    rows = cast("list[Sequence[object]]", values)
    numbers = list(chain.from_iterable(rows))
    if not (set(map(len, rows)) <= {4} and set(map(type, numbers)) <= {float, int}):
        _check_each(rows, section, key="bbox", rule=rule, good=_is_box)
    boxes = np.array(numbers, dtype=np.float64).reshape(-1, 4)
    good = np.isfinite(boxes) & (boxes >= (-np.inf, -np.inf, 0, 0))  # [N, 4]
    refuse(
        np.asarray(~good.all(axis=1)),
        entries,
        section,
        "a box needs finite numbers and no negative width or height",
    )
    return boxes


def refuse(bad: Bools, entries: Sequence[Entry], section: str, rule: str) -> None:
    """Raise for the first row of a [N] mask."""
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{section}[{row}]: {rule}; got {_short(entries[row])}.")


def _column(entries: Sequence[Entry], section: str, *, key: str) -> list[object]:
    """The values of one key of all entries."""
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        missing = np.array([key not in entry for entry in entries], dtype=np.bool_)
        refuse(missing, entries, section, f"{key!r} is missing")
        raise


def _checked_numbers(values: Sequence[object], section: str, *, key: str) -> Floats:
    """[N] the values of a key."""
    if not set(map(type, values)) <= {float, int}:
        _check_each(values, section, key=key, rule="a number", good=_is_number)
    return np.array(values, dtype=np.float64)


def _check_each(
    values: Sequence[object], section: str, *, key: str, rule: str, good: Callable[[object], bool]
) -> None:
    """Raise for the first value that is not good; the caller has seen that there may be one."""
    for row, value in enumerate(values):
        if not good(value):
            raise DataError(f"{section}[{row}]: {key!r} must be {rule}; got {_short(value)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    """Whole numbers, also those that some writers store as 3.0."""
    return _is_number(value) and float(cast("float", value)).is_integer()


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list | tuple | np.ndarray)
        and len(value) == 4
        and all(map(_is_number, value))
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
