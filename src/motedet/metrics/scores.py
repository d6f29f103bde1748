"""The record of an evaluation, and the mean that makes its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.metrics.stamp import Stamp

UNDEFINED: Final = -1.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Numbers of one evaluation.

    Attributes:
        values: the protocol's numbers in its published order; fractions, -1 = undefined.
        per_class: class name -> number name -> value, -1 = undefined.
        notes: what a reader of the numbers has to know, one sentence each.
        stamp: the protocol and the data; None where nothing was scored.
    """

    values: dict[str, float]
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stamp: Stamp | None = None

    def as_dict(self) -> dict[str, object]:
        """The record in JSON's types."""
        record: dict[str, object] = {
            "values": dict(self.values),
            "per_class": {name: dict(row) for name, row in self.per_class.items()},
            "notes": list(self.notes),
        }
        return record if self.stamp is None else record | {"stamp": self.stamp.as_dict()}


def mean_defined(values: NDArray[np.float64]) -> float:
    """Mean over the entries that are neither nan nor undefined; -1 where there is none.

    Args:
        values: any shape.
    """
    defined = values[values > UNDEFINED]  # nan compares false
    return float(defined.mean()) if defined.size else UNDEFINED


def class_rows(
    names: tuple[str, ...], columns: Mapping[str, NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    """One row of numbers per class; nan becomes -1.

    Args:
        names: of the K classes.
        columns: number name -> [K].
    """
    clean = {
        key: np.where(np.isnan(column), UNDEFINED, column).tolist()
        for key, column in columns.items()
    }
    return {
        name: {key: column[row] for key, column in clean.items()} for row, name in enumerate(names)
    }
