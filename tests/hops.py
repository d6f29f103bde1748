"""How much of the package a newcomer must open to follow one call."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")
SRC = Path(__file__).resolve().parents[1] / "src" / "motedet"


@dataclass
class Walk:
    """The files and functions of the package that one call entered, and how deep it went."""

    files: set[str] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    depth: int = 0
    max_depth: int = 0


def walk(
    call: Callable[[], object],
    package: Path = SRC,
    *,
    closed: tuple[str, ...] = (),
    skipped: tuple[str, ...] = (),
) -> Walk:
    """Run `call` and record the functions of `package` that it enters.

    Args:
        call: what to follow.
        package: folder of the sources.
        closed: folders that count as one file each, and whose functions count where they are
            entered, but are not followed further; they have a walk of their own.
        skipped: names of functions that count for nothing, together with all that they call.
    """
    seen = Walk()
    inside = 0  # calls below the door of a closed folder
    hidden = 0  # calls below what is skipped
    prefix = f"{package}/"

    def on_event(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(prefix):
            return
        nonlocal inside, hidden
        if code.co_name in COMPREHENSIONS:  # no places to look up; Python 3.12 calls none of them
            return
        if hidden or code.co_name in skipped:
            hidden += {"call": 1, "return": -1}.get(event, 0)
            return
        name = code.co_filename.removeprefix(prefix)
        if event == "call":
            inside += 1 if inside or name.startswith(closed) else 0
            if inside > 1:
                return
            seen.depth += 1
            seen.max_depth = max(seen.max_depth, seen.depth)
            seen.files.add(next((c for c in closed if name.startswith(c)), name))
            seen.functions.add((name, code.co_qualname))
        elif event == "return":
            seen.depth -= 1 if inside <= 1 else 0
            inside -= 1 if inside else 0

    sys.setprofile(on_event)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen
