"""Random numbers for transforms, from the generator that is handed in and from nowhere else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def happens(generator: torch.Generator, probability: float) -> bool:
    """Whether an event of this probability takes place. One number is always drawn."""
    return float(torch.rand((), generator=generator)) < probability


def whole(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number in [low, high], both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


class Draws(Protocol):
    """Where published transforms take random numbers from; `numpy.random.RandomState` is one."""

    def randint(self, high: int, /) -> int:
        """A whole number in [0, high)."""

    def uniform(self, low: float, high: float, /) -> float:
        """A number between both, in the direction from `low` to `high`."""

    def choice(self, values: Sequence[float], /) -> float:
        """One of the values."""

    def permutation(self, count: int, /) -> Iterable[int]:
        """The numbers 0 to count - 1 in random order."""


@dataclass(frozen=True)
class GeneratorDraws:
    """The same numbers from a generator of torch."""

    generator: torch.Generator

    def randint(self, high: int, /) -> int:
        """A whole number in [0, high)."""
        return whole(self.generator, 0, high - 1)

    def uniform(self, low: float, high: float, /) -> float:
        """A number between both, in the direction from `low` to `high`."""
        return uniform(self.generator, low, high)

    def choice(self, values: Sequence[float], /) -> float:
        """One of the values."""
        return values[self.randint(len(values))]

    def permutation(self, count: int, /) -> list[int]:
        """The numbers 0 to count - 1 in random order."""
        return [int(number) for number in torch.randperm(count, generator=self.generator)]


def check_probability(value: float, name: str) -> None:
    """Raise unless `value` lies in [0, 1].

    Raises:
        ValueError: naming the field and its value.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1]; got {value}.")
