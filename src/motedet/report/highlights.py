"""Which of a protocol's scores are worth a tile, a curve or a bar, by their names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from motedet.report.measures import canonical, is_aitod, size_bin
from motedet.report.palette import BIN_COLOURS
from motedet.report.sizes import BINS

MOST_TILES: Final = 5
MOST_CURVES: Final = 6  # as many as a theme has colours

_TILES: Final = {
    "aitod": ("AP", "AP50", "AP_vt", "AP_t", "AP_s"),
    "tinyperson": ("AP50_tiny", "AP50_tiny1", "AP50_tiny2", "AP50_tiny3", "MR50_tiny"),
    "coco": ("AP", "AP50", "AP75"),
}
_CURVES: Final = {
    "aitod": ("AP", "AP50", "AP_vt", "AP_t", "AP_s", "AP_m"),
    "tinyperson": ("AP50_tiny", "AP50_tiny1", "AP50_tiny2", "AP50_tiny3", "AP50_small"),
    "coco": ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l"),
}
_SIZES: Final = {
    "aitod": (
        ("AP_vt", "very tiny\n2-8 px", BIN_COLOURS[1]),
        ("AP_t", "tiny\n8-16 px", BIN_COLOURS[2]),
        ("AP_s", "small\n16-32 px", BIN_COLOURS[3]),
        ("AP_m", "medium\n≥ 32 px", BIN_COLOURS[4]),
    ),
    "tinyperson": (
        ("AP50_tiny1", "tiny1\n1-8 px", BIN_COLOURS[1]),
        ("AP50_tiny2", "tiny2\n8-12 px", BIN_COLOURS[2]),
        ("AP50_tiny3", "tiny3\n12-20 px", BIN_COLOURS[3]),
        ("AP50_small", "small\n20-32 px", BIN_COLOURS[4]),
    ),
    "coco": (
        ("AP_s", "small\n< 32 px", BIN_COLOURS[2]),
        ("AP_m", "medium\n32-96 px", BIN_COLOURS[3]),
        ("AP_l", "large\n≥ 96 px", BIN_COLOURS[4]),
    ),
}


@dataclass(frozen=True, slots=True)
class SizeScore:
    """The AP of one size bin.

    Attributes:
        name: of the score, as given where it is among the given ones.
        label: the bin and its ends in pixels, a line each.
        colour: of the bin.
    """

    name: str
    label: str
    colour: str


def headline_names(names: Iterable[str]) -> list[str]:
    """The few scores that people ask for first, as far as they are there.

    Args:
        names: of the scores of one protocol, in any spelling.
    """
    listed = list(names)
    bins = [score.name for score in _own_bins(listed)]
    wanted = ("AP", "AP50", *bins) if bins else _TILES[_family(listed)]
    return _spelt(wanted, listed)[:MOST_TILES]


def curve_names(names: Iterable[str]) -> list[str]:
    """The scores to follow over the epochs, as far as they are there.

    Args:
        names: of the scores of one protocol, in any spelling.
    """
    listed = list(names)
    bins = [score.name for score in _own_bins(listed)]
    wanted = ("AP", "AP50", *bins) if bins else _CURVES[_family(listed)]
    return _spelt(wanted, listed)[:MOST_CURVES]


def overall_score(names: Iterable[str]) -> tuple[str, str]:
    """Name and label of the score that the size bins stand beside.

    Args:
        names: of the scores of one protocol, in any spelling.
    """
    if _family(list(names)) == "tinyperson":
        return "AP50_tiny", "AP50, tiny\n1-20 px"
    return "AP", "all sizes"


def size_scores(names: Iterable[str]) -> list[SizeScore]:
    """The protocol's AP by size, from small to large; empty where it has none.

    Args:
        names: of the scores of one protocol, in any spelling.
    """
    listed = list(names)
    if bins := _own_bins(listed):
        return bins
    spelling = {canonical(name): name for name in listed}
    sizes = _SIZES[_family(listed)]
    if not any(canonical(name) in spelling for name, _, _ in sizes):
        return []
    return [SizeScore(spelling.get(canonical(n), n), label, colour) for n, label, colour in sizes]


def _family(names: Sequence[str]) -> str:
    """Whose names these are."""
    if "AP50_tiny" in names:
        return "tinyperson"
    return "aitod" if is_aitod(names) else "coco"


def _spelt(wanted: Iterable[str], names: Sequence[str]) -> list[str]:
    """Those of the wanted names that are given, spelt as given."""
    spelling = {canonical(name): name for name in names}
    spelling |= {name: name for name in names}  # first, as "AP50" and "AP_50+" have equal letters
    found = (spelling.get(name, spelling.get(canonical(name))) for name in wanted)
    return [name for name in found if name is not None]


def _own_bins(names: Sequence[str]) -> list[SizeScore]:
    """AP in bins of one's own, in the colour of the common bin in which each begins."""
    bins = sorted((found, n) for n in names if n.startswith("AP_") and (found := size_bin(n)))
    scores = []
    for (low, high), name in bins:
        label = f"≥ {low:g} px" if math.isinf(high) else f"{low:g}-{high:g} px"
        place = sum(size.low <= low for size in BINS) - 1
        scores.append(SizeScore(name, label, BIN_COLOURS[place]))
    return scores
