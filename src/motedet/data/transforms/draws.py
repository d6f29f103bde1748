"""Random numbers for transforms, from the generator that is handed in and from nowhere else."""

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


def check_probability(value: float, name: str) -> None:
    """Raise unless `value` lies in [0, 1].

    Raises:
        ValueError: naming the field and its value.
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1]; got {value}.")
