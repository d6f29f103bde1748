"""Which pooling a recipe means."""

import pytest
from pydantic import TypeAdapter, ValidationError

from motedet.models.pooling import AnyPool
from motedet.models.ps_roi_align import PSRoIAlign
from motedet.models.rois import RoIAlign

ADAPTER: TypeAdapter[AnyPool] = TypeAdapter(AnyPool)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, RoIAlign()),
        ({"output_size": 5}, RoIAlign(output_size=5)),
        ({"kind": "roi_align", "num_levels": 2}, RoIAlign(num_levels=2)),
        ({"kind": "ps_roi_align", "mode": "mean"}, PSRoIAlign(mode="mean")),
    ],
)
def test_parts_are_told_apart_by_kind(
    values: dict[str, object], expected: RoIAlign | PSRoIAlign
) -> None:
    assert ADAPTER.validate_python(values) == expected
    assert ADAPTER.validate_json(ADAPTER.dump_json(expected)) == expected


def test_unknown_kinds() -> None:
    with pytest.raises(ValidationError, match=r"'roi_align', 'ps_roi_align'"):
        ADAPTER.validate_python({"kind": "roi_pool"})
