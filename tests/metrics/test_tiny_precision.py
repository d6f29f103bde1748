import math

import numpy as np
import pytest

from motedet.metrics.tiny_precision import IoDThreshold, published_iod, smallest_iod


@pytest.mark.parametrize(
    ("rule", "expected"), [("t", 0.5), ("2t/(1+t)", 2 / 3), (None, math.inf)], ids=str
)
def test_smallest_iod(rule: IoDThreshold | None, expected: float) -> None:
    assert smallest_iod(0.5, rule) == pytest.approx(expected)


def test_formula_is_the_share_inside_for_areas_of_boxes() -> None:
    generator = np.random.default_rng(0)
    inter = generator.uniform(1, 9, 20)
    found, objects = inter + generator.uniform(0, 9, 20), inter + generator.uniform(0, 90, 20)
    iou = inter / (found + objects - inter)
    formula = published_iod(iou, object_areas=objects, found_areas=found)
    np.testing.assert_allclose(formula, inter / found, rtol=1e-12)


def test_formula_grows_with_other_areas() -> None:
    quarter = np.array([0.25])
    values = [
        published_iod(quarter, object_areas=np.array([area]), found_areas=np.array([10.0])).item()
        for area in (10.0, 40.0, 400.0)
    ]
    assert values == pytest.approx([0.4, 1.0, 8.2])
