"""Colours that stay apart for colour-blind readers (Okabe and Ito 2008), in one place."""

import colorsys
from dataclasses import dataclass
from typing import Final

ON_IMAGE: Final = (
    "#56CCF2",
    "#FFB000",
    "#2EE6A6",
    "#FF8FCB",
    "#F5EE6B",
    "#FF6A3D",
    "#8FA8FF",
    "#FFFFFF",
)
"""Class colours on photographs: the Okabe-Ito hues, lightened to show on dark scenes."""

FOUND: Final = "#56CCF2"
FALSE: Final = "#FF6A3D"
MISSED: Final = "#FFE14D"
GOLDEN_ANGLE: Final = 0.381966  # of a turn; neighbours in the list get far apart hues

BIN_COLOURS: Final = ("#8A8F98", "#D55E00", "#E69F00", "#56B4E9", "#0072B2")
"""One per size bin, warm for tiny to cool for large."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a figure.

    Attributes:
        name: "light" or "dark".
        ink: text.
        muted: axes and secondary text.
        grid: lines and shades behind the data.
        surface: background.
        lines: colours of the series, in order.
    """

    name: str
    ink: str
    muted: str
    grid: str
    surface: str
    lines: tuple[str, ...]


LIGHT: Final = Theme(
    name="light",
    ink="#1B1F24",
    muted="#5B6570",
    grid="#E4E7EB",
    surface="#FFFFFF",
    lines=("#0072B2", "#D55E00", "#009E73", "#B5588F", "#B8860B", "#5B6570"),
)
DARK: Final = Theme(
    name="dark",
    ink="#E8EBEF",
    muted="#9AA5B1",
    grid="#2C333B",
    surface="#171B20",
    lines=("#56B4E9", "#FF8A4C", "#2EC4A0", "#E59AC4", "#F0C95A", "#9AA5B1"),
)


def class_colour(label: int) -> str:
    """The colour of a class on photographs, as "#RRGGBB"; distinct for any number of classes.

    Args:
        label: 0-based class index.
    """
    if label < len(ON_IMAGE):
        return ON_IMAGE[label]
    red, green, blue = colorsys.hsv_to_rgb((label * GOLDEN_ANGLE) % 1.0, 0.55, 1.0)
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"
