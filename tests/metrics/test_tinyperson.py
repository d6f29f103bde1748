"""The TinyPerson protocol: against loops, and on cases that can be worked out by hand."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from motedet.metrics import PROTOCOLS, AnyProtocol, MissRate, TinyPersonProtocol
from motedet.metrics.tiny_precision import IoDThreshold
from plain_tinyperson import plain_miss_rate, plain_precision

Entry = dict[str, Any]
PERSON: Entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "area": 100}
HIT: Entry = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 10, 10], "score": 0.9}


def truth_of(*objects: Entry) -> Entry:
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": list(objects),
    }


def flagged(scene: tuple[Entry, list[Entry]], seed: int) -> tuple[Entry, list[Entry]]:
    """The scene with flags, large regions and sizes of the annotators."""
    generator = np.random.default_rng(seed)
    truth, found = copy.deepcopy(scene)
    for entry in truth["annotations"]:
        for key in ("ignore", "uncertain"):
            entry[key] = int(generator.random() < 0.15)
        if generator.random() < 0.1:
            entry["bbox"][2:] = [50.0, 45.0]
            entry |= {"area": 2250.0, "ignore": 1}
        if generator.random() < 0.1:
            entry["size"] = float(generator.choice([2, 8, 12, 20]))
        if generator.random() < 0.1:
            entry["vis_ratio"] = float(generator.choice([0.5, 0.65]))
    return truth, found


@pytest.mark.parametrize("zero_id", [False, True], ids=["ids-from-1", "ids-from-0"])
@pytest.mark.parametrize("rule", ["t", "2t/(1+t)", None], ids=["t", "stretched", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_loops(
    seed: int,
    rule: IoDThreshold | None,
    zero_id: bool,
    scene: Callable[..., tuple[Entry, list[Entry]]],
) -> None:
    made = scene(seed, classes=2, images=3, zero_id=zero_id, crowds=bool(seed % 2))
    truth, found = flagged(made, seed)
    protocol = TinyPersonProtocol(
        max_det=20,
        iod_threshold=rule,
        published_id_zero=zero_id,
        miss_rate=MissRate(
            max_det=15,
            unreached="zero" if seed % 2 else "published",
            excuse="inside" if seed > 1 else "published",
        ),
    )
    values = protocol.score(truth, found).values
    expected = plain_precision(
        truth, found, max_det=20, iod_threshold=rule, published_id_zero=zero_id
    ) | plain_miss_rate(
        truth,
        found,
        max_det=15,
        unreached="zero" if seed % 2 else "published",
        excuse="inside" if seed > 1 else "published",
        published_id_zero=zero_id,
    )
    assert list(values) == list(expected)
    np.testing.assert_allclose(list(values.values()), list(expected.values()), rtol=0, atol=1e-12)


def test_names_and_their_order() -> None:
    names = list(TinyPersonProtocol().score(truth_of(PERSON), [HIT]).values)
    assert names[:2] == ["AP25_all", "AP25_tiny"]
    assert names[8] == "AP50_tiny" == TinyPersonProtocol.headline
    assert names[21] == "AR25_all"
    assert names[42] == "MR25_tiny1"
    assert len(names) == 60


def test_no_objects_leave_everything_undefined() -> None:
    scores = TinyPersonProtocol().score(truth_of(), [HIT])
    assert set(scores.values.values()) == {-1.0}
    assert set(scores.per_class["person"].values()) == {-1.0}


def test_no_detections_are_the_worst() -> None:
    values = TinyPersonProtocol().score(truth_of(PERSON), []).values
    assert values["AP50_tiny"] == values["AR50_tiny2"] == 0
    assert values["MR50_tiny"] == 1
    assert values["AP50_tiny1"] == values["MR50_tiny1"] == -1


def test_found_object_counts_in_its_sizes_only() -> None:
    values = TinyPersonProtocol().score(truth_of(PERSON), [HIT]).values
    for name in ("AP50_all", "AP50_tiny", "AP50_tiny2", "AR75_tiny2"):
        assert values[name] == pytest.approx(1, abs=1e-12)
    assert values["MR50_tiny"] == values["MR50_tiny2"] == 0
    assert values["AP50_small"] == values["MR50_small"] == -1


@pytest.mark.parametrize("flag", ["ignore", "uncertain", "iscrowd"])
def test_flagged_objects_excuse_what_lies_inside(flag: str) -> None:
    region = PERSON | {"id": 2, "bbox": [40, 40, 20, 20], "area": 400, flag: 1}
    inside = HIT | {"bbox": [45, 45, 10, 10], "score": 0.95}  # IoU 0.25, all of it inside
    cases: list[tuple[IoDThreshold | None, float]] = [("t", 1.0), (None, 0.5)]
    for rule, expected in cases:
        protocol = TinyPersonProtocol(iod_threshold=rule, miss_rate=None)
        values = protocol.score(truth_of(PERSON, region), [inside, HIT]).values
        crowd = flag == "iscrowd"  # intersection over the detection's area is its overlap anyway
        assert values["AP50_tiny"] == pytest.approx(1.0 if crowd else expected, abs=1e-12)


def test_uncertain_objects_may_count() -> None:
    truth = truth_of(PERSON, PERSON | {"id": 2, "bbox": [40, 40, 9, 9], "uncertain": 1})
    counted = TinyPersonProtocol(ignore_uncertain=False).score(truth, [HIT]).values
    assert counted["AR50_tiny"] == 0.5
    assert TinyPersonProtocol().score(truth, [HIT]).values["AR50_tiny"] == 1


def test_half_inside_depends_on_the_setting() -> None:
    region = PERSON | {"id": 2, "bbox": [40, 40, 30, 30], "area": 900, "ignore": 1}
    half = HIT | {"bbox": [34, 40, 10, 10], "score": 0.95}  # 40 % inside
    most = HIT | {"bbox": [36, 40, 10, 10], "score": 0.95}  # 60 % inside; 2t / (1 + t) = 2 / 3
    cases: list[tuple[Entry, IoDThreshold, float]] = [
        (half, "t", 0.5),
        (most, "t", 1.0),
        (most, "2t/(1+t)", 0.5),
    ]
    for box, rule, expected in cases:
        protocol = TinyPersonProtocol(iod_threshold=rule, miss_rate=None)
        values = protocol.score(truth_of(PERSON, region), [box, HIT]).values
        assert values["AP50_tiny"] == pytest.approx(expected, abs=1e-12)


def test_an_excuse_takes_the_object_from_later_detections() -> None:
    region = PERSON | {"id": 2, "bbox": [40, 40, 20, 20], "area": 400, "ignore": 1}
    inside = HIT | {"bbox": [45, 45, 10, 10], "score": 0.99}
    larger = HIT | {"bbox": [40, 40, 20, 32], "score": 0.98}  # IoU and share inside: 0.625
    protocol = TinyPersonProtocol(iod_threshold="2t/(1+t)", miss_rate=None)
    for found, expected in (([larger, HIT], 1.0), ([inside, larger, HIT], 0.5)):
        values = protocol.score(truth_of(PERSON, region), found).values
        assert values["AP50_all"] == pytest.approx(expected, abs=1e-12)


def test_id_zero_counts_unless_published() -> None:
    truth = truth_of(PERSON | {"id": 0})
    scores = TinyPersonProtocol().score(truth, [HIT])
    assert scores.values["AR50_tiny"] == 1
    assert scores.notes == ()
    published = TinyPersonProtocol(published_id_zero=True).score(truth, [HIT])
    assert published.values["AR50_tiny"] == 0
    assert "id 0" in published.notes[0]


def test_note_where_the_published_miss_rate_is_too_low() -> None:
    truth = truth_of(PERSON, PERSON | {"id": 2, "bbox": [40, 40, 9, 9]})
    found = [HIT | {"image_id": 2, "score": 0.99}, HIT]
    published = TinyPersonProtocol().score(truth, found)
    assert published.values["MR50_tiny"] == pytest.approx(0.5)
    assert any("fewer than 100 images" in note for note in published.notes)
    honest = TinyPersonProtocol(miss_rate=MissRate(unreached="zero")).score(truth, found)
    # 0.5 false positives per image are allowed at the last two of the nine rates only
    assert honest.values["MR50_tiny"] == pytest.approx(0.5 ** (2 / 9))
    assert honest.notes == ()


def test_caps_are_noted() -> None:
    protocol = TinyPersonProtocol(max_det=1, miss_rate=MissRate(max_det=2))
    notes = protocol.score(truth_of(PERSON), [HIT, HIT, HIT]).notes
    assert any("max 1 per image and class" in note for note in notes)
    assert any("max 2 per image and class" in note for note in notes)


def test_published_settings_by_name_and_as_recipe_keys() -> None:
    adapter: TypeAdapter[AnyProtocol] = TypeAdapter(AnyProtocol)
    assert adapter.validate_python({"kind": "tinyperson"}) == PROTOCOLS["tinyperson"]
    old = {"kind": "tinyperson", "max_det": 200}
    assert adapter.validate_python(old) == PROTOCOLS["tinyperson_old"]
    script = old | {"iod_threshold": "2t/(1+t)"}
    assert adapter.validate_python(script) == PROTOCOLS["tinyperson_script"]
    rules = {"kind": "tinyperson", "miss_rate": {"unreached": "zero"}}
    assert adapter.validate_python(rules) == TinyPersonProtocol(
        miss_rate=MissRate(unreached="zero")
    )
    without = {"kind": "tinyperson", "miss_rate": None}
    assert adapter.validate_python(without) == TinyPersonProtocol(miss_rate=None)


def test_stamp_names_settings_and_caps() -> None:
    stamp = TinyPersonProtocol(max_det=200).score(truth_of(PERSON), [HIT]).stamp
    assert stamp is not None
    assert stamp.protocol["iod_threshold"] == "t"
    assert stamp.caps == (200, 1000)


@pytest.mark.parametrize("settings", [{"max_det": 0}, {"miss_rate": {"max_det": 0}}], ids=str)
def test_caps_below_one_are_refused(settings: Entry) -> None:
    adapter = TypeAdapter(TinyPersonProtocol)
    with pytest.raises(ValueError, match="max_det must be at least 1; got 0"):
        adapter.validate_python(settings)
