"""What the names of scores mean, however they are spelt (`APvt`, `AP_vt`, `AR@100`)."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

GROUPS: Final = ("AP", "AP by size", "AR", "AR by size", "MR", "oLRP", "other")
_AITOD_SIZES: Final = {
    "vt": "very tiny, 2 to 8 px",
    "t": "tiny, 8 to 16 px",
    "s": "small, 16 to 32 px",
    "m": "medium, 32 px and up",
}
_COCO_SIZES: Final = {
    "s": "small, under 32 px",
    "m": "medium, 32 to 96 px",
    "l": "large, 96 px and up",
}
_OLRP: Final = {
    "": "localisation, recall and precision error; lower is better",
    "loc": "its localisation part, 1 - mean IoU",
    "fp": "its false-positive part, 1 - precision",
    "fn": "its missed part, 1 - recall",
}
_NOUNS: Final = {"AP": "average precision", "AR": "average recall", "MR": "miss rate"}
_TINYPERSON: Final = re.compile(r"(AP|AR|MR)(\d\d)_(all|tiny[123]?|small|reasonable)")
_BIN: Final = re.compile(r"(AP|AR)(50)?_(\d[\d.]*)(?:_(\d[\d.]*)|\+)")


@dataclass(frozen=True, slots=True)
class Measure:
    """A named score.

    Attributes:
        name: as given.
        group: one of `GROUPS`.
        meaning: in words, empty if unknown.
        lower_is_better: True for errors.
    """

    name: str
    group: str
    meaning: str
    lower_is_better: bool = False


def measure(name: str, *, aitod: bool) -> Measure:
    """Explain a score's name.

    Args:
        name: such as "AP", "AP50", "AP_vt", "AR@100", "oLRP_Loc".
        aitod: whether sizes are those of AI-TOD rather than COCO.
    """
    key = canonical(name)
    if found := _TINYPERSON.fullmatch(name):
        kind, iou, size = found.groups()
        meaning = f"{_NOUNS[kind]}, {size}, IoU 0.{iou}"
        return Measure(name, kind, meaning, lower_is_better=kind == "MR")
    if found := _BIN.fullmatch(name):
        kind, iou, low, high = found.groups()
        limits = f"{low} to {high} px" if high else f"{low} px and up"
        meaning = f"{_NOUNS[kind]}, {limits}" + (f", IoU 0.{iou}" if iou else "")
        return Measure(name, f"{kind} by size", meaning)
    if key.startswith("olrp"):
        return Measure(name, "oLRP", _OLRP.get(key[4:], ""), lower_is_better=True)
    kind, rest = key[:2], key[2:]
    if kind not in ("ap", "ar"):
        return Measure(name, "other", "")
    noun = "average precision" if kind == "ap" else "average recall"
    sizes = _AITOD_SIZES if aitod else _COCO_SIZES
    if rest in sizes:
        return Measure(name, f"{kind.upper()} by size", f"{noun}, {sizes[rest]}")
    return Measure(name, kind.upper(), _plain_meaning(noun, rest, recall=kind == "ar"))


def _plain_meaning(noun: str, rest: str, *, recall: bool) -> str:
    """Meaning of AP, AP50, AR@100."""
    if not rest:
        return f"{noun}, IoU 0.50 to 0.95"
    if not rest.isdigit():
        return ""
    if recall:
        return f"{noun}, at most {int(rest):,} detection{'s' * (rest != '1')}"
    return f"{noun}, IoU {int(rest) / 100:.2f}"


def measures(names: Iterable[str]) -> list[Measure]:
    """Explain several names, group after group, in the given order within a group.

    Args:
        names: of one protocol; a "very tiny" among them tells AI-TOD's sizes from COCO's.
    """
    listed = list(names)
    aitod = is_aitod(listed)
    explained = [measure(name, aitod=aitod) for name in listed]
    return sorted(explained, key=lambda m: GROUPS.index(m.group))


def size_bin(name: str) -> tuple[float, float] | None:
    """The ends in pixels of a bin of one's own, such as those of "AP_2_8"; None for other names."""
    found = _BIN.fullmatch(name)
    if found is None:
        return None
    low, high = found.groups()[2:]
    return float(low), float(high) if high else math.inf


def is_aitod(names: Iterable[str]) -> bool:
    """Whether the names are those of the AI-TOD protocol."""
    return any(canonical(name) in ("apvt", "arvt") for name in names)


def canonical(name: str) -> str:
    """A name in lower case without punctuation, so that spellings compare equal."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find(values: Mapping[str, float], name: str) -> float:
    """The value of a score under any spelling of its name; NaN if absent or undefined."""
    wanted = canonical(name)
    for key, value in values.items():
        if canonical(key) == wanted and defined(value):
            return value
    return math.nan


def defined(value: float) -> bool:
    """False for NaN, infinity, and the -1 by which COCO's evaluator says "nothing to score"."""
    return math.isfinite(value) and value >= 0


def show(value: float) -> str:
    """Three decimals, or "-" where the score is undefined."""
    return f"{value:.3f}" if defined(value) else "-"
