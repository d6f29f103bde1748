import itertools

import pytest

from motedet.report.highlights import curve_names, headline_names, overall_score, size_scores
from motedet.report.palette import BIN_COLOURS

AITOD = ("AP", "AP25", "AP50", "AP75", "AP_vt", "AP_t", "AP_s", "AP_m", "AR@1")
COCO = ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l")
VISDRONE = ("AP", "AP50", "AP75", "AR@1")
BINS = ("AP", "AP50", "AP75", "AP_2_8", "AP_8_16", "AP_16+", "AR_2_8")
TINYPERSON = tuple(
    f"{kind}50_{size}"
    for kind, size in itertools.product(("AP", "MR"), ("all", "tiny", "tiny1", "tiny2", "small"))
)


def test_no_scores_have_no_highlights() -> None:
    assert headline_names([]) == []
    assert curve_names([]) == []
    assert size_scores([]) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (AITOD, ["AP", "AP50", "AP_vt", "AP_t", "AP_s"]),
        (COCO, ["AP", "AP50", "AP75"]),
        (VISDRONE, ["AP", "AP50", "AP75"]),
        (BINS, ["AP", "AP50", "AP_2_8", "AP_8_16", "AP_16+"]),
        (TINYPERSON, ["AP50_tiny", "AP50_tiny1", "AP50_tiny2", "MR50_tiny"]),
    ],
    ids=["aitod", "coco", "visdrone", "bins", "tinyperson"],
)
def test_headline_of_each_protocol(names: tuple[str, ...], expected: list[str]) -> None:
    assert headline_names(names) == expected


def test_names_are_spelt_as_given() -> None:
    assert curve_names(["APvt", "ap", "APt"]) == ["ap", "APvt", "APt"]
    assert [score.name for score in size_scores(["ap", "APvt"])][:2] == ["APvt", "AP_t"]


def test_a_bin_from_50_px_is_not_taken_for_the_ap_at_50() -> None:
    names = ("AP", "AP50", "AP_2_50", "AP_50+")
    assert headline_names(names) == ["AP", "AP50", "AP_2_50", "AP_50+"]


def test_curves_are_no_more_than_there_are_colours() -> None:
    bins = [f"AP_{side}_{side + 1}" for side in range(20)]
    assert curve_names(["AP", "AP50", *bins]) == ["AP", "AP50", *bins[:4]]


def test_own_bins_go_from_small_to_large_in_the_colours_of_the_common_ones() -> None:
    scores = size_scores(["AP", "AP_16+", "AP_0_4", "AP_8_16", "AP_4_8"])
    assert [score.label for score in scores] == ["0-4 px", "4-8 px", "8-16 px", "≥ 16 px"]
    assert [score.colour for score in scores] == list(BIN_COLOURS[:4])


def test_a_protocol_without_sizes_has_none() -> None:
    assert size_scores(VISDRONE) == []
    assert len(size_scores(AITOD)) == 4
    assert len(size_scores(COCO)) == 3


def test_tinyperson_stands_beside_its_tiny() -> None:
    assert overall_score(TINYPERSON) == ("AP50_tiny", "AP50, tiny\n1-20 px")
    assert overall_score(COCO) == ("AP", "all sizes")
    assert [score.name for score in size_scores(TINYPERSON)][2] == "AP50_tiny3"
