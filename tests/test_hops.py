"""One step and one prediction stay within reach of a newcomer (house style, sections 2 and 5).

The assigner is one stop of the training step: a strategy is read on its own, and has a budget of
its own. Grids are made once per image size, so the second step counts.
"""

import pytest

from hops import Walk, walk
from motedet.structures import PackedTargets
from small_detectors import scene, small_specs

SPECS = small_specs()


@pytest.mark.parametrize("name", SPECS)
def test_training_step(name: str) -> None:
    detector = SPECS[name].build(2).train()
    images, targets = scene()
    detector.loss(images, targets)
    seen = walk(lambda: detector.loss(images, targets), closed=("assign/",))
    _check(seen, files=14, functions=40, depth=7)


@pytest.mark.parametrize("name", SPECS)
def test_assigner(name: str) -> None:
    spec = SPECS[name]
    _, targets = scene()
    grid = spec.priors([(64 // s, 64 // s) for s in spec.priors.strides])
    packed = PackedTargets.pack(targets)
    spec.assigner(grid, packed)
    seen = walk(lambda: spec.assigner(grid, packed))
    _check(seen, files=7, functions=36, depth=8)


@pytest.mark.parametrize("name", SPECS)
def test_prediction(name: str) -> None:
    detector = SPECS[name].build(2).eval()
    images, _ = scene()
    detector.predict(images)
    _check(walk(lambda: detector.predict(images)), files=12, functions=32, depth=6)


def test_the_counter_counts() -> None:
    targets = scene()[1]
    seen = walk(lambda: PackedTargets.pack(targets))
    assert seen.files == {"structures.py"}
    assert seen.functions == {
        ("structures.py", "PackedTargets.pack"),
        ("structures.py", "_image_index"),
    }
    assert seen.max_depth >= 2
    closed = walk(lambda: PackedTargets.pack(targets), closed=("structures.py",))
    assert closed.functions == {("structures.py", "PackedTargets.pack")}
    assert closed.max_depth == 1
    assert closed.depth == 0


def _check(seen: Walk, *, files: int, functions: int, depth: int) -> None:
    assert len(seen.files) <= files, sorted(seen.files)
    assert len(seen.functions) <= functions, sorted(seen.functions)
    assert seen.max_depth <= depth
    assert seen.depth == 0
