"""TinyDet's golden cases: the three recipes, and values rebuilt by rule.

Its boxes count their last pixel as part of them (`README.md` of the folder); ours end after it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from golden_files import fill, load_json, load_npz
from motedet.models.detectors import FasterRCNNSpec
from motedet.models.ps_roi_align import PSRoIAlign
from motedet.priors import RoundedAnchors
from motedet.recipes import load_recipe
from motedet.structures import Size

Array = NDArray[Any]

LAST_PIXEL = torch.tensor([0.0, 0.0, 1.0, 1.0])


class Model(NamedTuple):
    """One of the three.

    Attributes:
        size: of the square input.
        spec: of its recipe.
    """

    size: int
    spec: FasterRCNNSpec

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the pyramid."""
        return self.spec.priors.strides

    @property
    def priors(self) -> RoundedAnchors:
        """Of the first stage."""
        assert isinstance(self.spec.priors, RoundedAnchors)
        return self.spec.priors

    @property
    def pool(self) -> PSRoIAlign:
        """Of the regions."""
        assert isinstance(self.spec.pool, PSRoIAlign)
        return self.spec.pool

    @property
    def level_sizes(self) -> tuple[Size, ...]:
        """Of the pyramid for the square input."""
        return tuple((self.size // s, self.size // s) for s in self.strides)


def _model(key: str) -> Model:
    recipe = load_recipe(f"tinydet/{key.lower()}_coco")
    assert isinstance(recipe.model, FasterRCNNSpec)
    return Model(512 if key == "L" else 320, recipe.model)


MODELS = {key: _model(key) for key in "SML"}


def arrays(name: str) -> dict[str, Array]:
    """All arrays of one file of the folder."""
    return load_npz("tinydet", f"{name}.npz")


def case_json(name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """One json file of the folder."""
    return load_json("tinydet", f"{name}.json")


def rnd(seed: int, shape: Sequence[int]) -> Tensor:
    """The random inputs of the README."""
    values = np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)
    return torch.from_numpy(values)


def half_open(boxes: Array) -> Tensor:
    """[N, 4] boxes as we have them."""
    return torch.from_numpy(boxes) + LAST_PIXEL


def published_state(key: str, *, scaled: bool = True) -> dict[str, Tensor]:
    """A whole checkpoint as published, its values by rule."""
    shapes = case_json("manifest_M" if key == "L" else f"manifest_{key}")
    factors: Mapping[str, float] = case_json("scales")[key] if scaled else {}
    rule = fill()
    return {n: torch.from_numpy(rule(n, tuple(s))) * factors.get(n, 1) for n, s in shapes.items()}


def load_filled(module: nn.Module, shapes: Mapping[str, Sequence[int]], prefix: str) -> None:
    """Fill a module, all of it, under the names `prefix` + name."""
    rule = fill()
    state = {n: torch.from_numpy(rule(prefix + n, tuple(s))) for n, s in shapes.items()}
    module.load_state_dict(state, strict=True)


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries of one part."""
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def assert_close(found: Tensor, expected: Array, limit: float) -> None:
    """Raise unless the difference is at most limit * max(1, |expected|) everywhere."""
    values = found.detach().numpy()
    assert values.shape == expected.shape
    assert bool((np.abs(values - expected) <= limit * np.maximum(1, np.abs(expected))).all())


def assert_same_stats(found: Tensor, expected: Array, limit: float) -> None:
    """Raise unless mean, deviation, sum of sizes, minimum and maximum agree, relative to these."""
    flat = found.detach().double().numpy()
    mean, deviation, total, low, high = expected
    largest = max(abs(low), abs(high))
    ours = [flat.mean(), flat.std(), flat.min(), flat.max()]
    np.testing.assert_allclose(ours, [mean, deviation, low, high], rtol=0, atol=limit * largest)
    np.testing.assert_allclose(np.abs(flat).sum(), total, rtol=limit)
