import math

import pytest

from motedet.report.measures import defined, find, measure, measures, show, size_bin


@pytest.mark.parametrize("name", ["APvt", "AP_vt", "ap-vt", "AP vt"])
def test_spellings_mean_the_same(name: str) -> None:
    assert measure(name, aitod=True).meaning == "average precision, very tiny, 2 to 8 px"


def test_known_names() -> None:
    assert measure("AP", aitod=True).meaning == "average precision, IoU 0.50 to 0.95"
    assert measure("AP50", aitod=False).meaning == "average precision, IoU 0.50"
    assert measure("AR@1", aitod=True).meaning == "average recall, at most 1 detection"
    assert measure("AR@1500", aitod=True).meaning == "average recall, at most 1,500 detections"
    assert measure("oLRP_FN", aitod=True).lower_is_better


def test_an_unknown_name_is_kept_without_meaning() -> None:
    assert measure("speed", aitod=True).group == "other"
    assert measure("APx", aitod=True).meaning == ""


def test_groups_come_in_order() -> None:
    names = [m.name for m in measures(["speed", "oLRP", "AR@1", "APvt", "AP"])]
    assert names == ["AP", "APvt", "AR@1", "oLRP", "speed"]


def test_undefined_values() -> None:
    assert show(-1.0) == show(math.nan) == "-"
    assert show(0.0) == "0.000"
    assert not defined(math.inf)
    assert math.isnan(find({"AP_vt": -1.0}, "APvt"))
    assert find({"AP_vt": 0.5}, "APvt") == 0.5


def test_tinyperson_and_own_bins() -> None:
    of = {m.name: m for m in measures(["AP50_tiny", "MR50_tiny1", "AP_2_8", "AP50_2_8", "AR_32+"])}
    assert of["AP50_tiny"].meaning == "average precision, tiny, IoU 0.50"
    assert of["MR50_tiny1"].group == "MR"
    assert of["MR50_tiny1"].lower_is_better
    assert of["AP_2_8"].meaning == "average precision, 2 to 8 px"
    assert of["AP50_2_8"].meaning == "average precision, 2 to 8 px, IoU 0.50"
    assert of["AP50_2_8"].group == "AP by size"
    assert of["AR_32+"].meaning == "average recall, 32 px and up"


def test_ends_of_own_bins() -> None:
    assert size_bin("AP_2.5_8") == (2.5, 8.0)
    assert size_bin("AR_16+") == (16.0, math.inf)
    assert size_bin("AP50") is None
    assert size_bin("AP_vt") is None
