import json

import numpy as np
import pytest

from motedet.metrics.scores import Scores, class_rows, mean_defined


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], -1.0), ([-1.0, np.nan], -1.0), ([0.0, 1.0, -1.0, np.nan], 0.5)],
    ids=["empty", "nothing-defined", "some-defined"],
)
def test_mean_leaves_out_the_undefined(values: list[float], expected: float) -> None:
    assert mean_defined(np.array(values)) == expected


def test_class_rows_say_minus_one_for_nan() -> None:
    rows = class_rows(("car", "ship"), {"AP": np.array([0.5, np.nan])})
    assert rows == {"car": {"AP": 0.5}, "ship": {"AP": -1.0}}


def test_as_dict_is_json() -> None:
    scores = Scores(values={"AP": 0.5}, per_class={"car": {"AP": 0.5}}, notes=("one",))
    assert json.loads(json.dumps(scores.as_dict())) == scores.as_dict()
