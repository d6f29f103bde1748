from motedet.report.palette import BIN_COLOURS, class_colour
from motedet.report.sizes import BINS


def test_every_bin_has_a_colour() -> None:
    assert len(BIN_COLOURS) == len(BINS) == len(set(BIN_COLOURS))


def test_eighty_classes_have_eighty_colours() -> None:
    colours = {class_colour(label) for label in range(80)}
    assert len(colours) == 80
    assert all(len(c) == 7 and int(c[1:], 16) >= 0 for c in colours)
