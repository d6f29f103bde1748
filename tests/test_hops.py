"""One step and one prediction stay within reach of a newcomer (house style, sections 2 and 5).

Assignment is one stop of the training step: a strategy is read on its own, and has a budget of its
own. Grids are made once per image size, so the second step counts. Detectors of two stages have
larger budgets, and none needs more for a prediction than for a step.
"""

import pytest

from hops import Walk, walk
from motedet.assign import PredictionAware
from motedet.models.detectors import AutoAssignSpec
from motedet.recipes import load_recipe
from motedet.structures import PackedTargets
from small_detectors import scene, small_dense, small_specs, small_two_stage

SPECS = small_specs()
ASSIGNING = {n: spec for n, spec in SPECS.items() if not isinstance(spec, AutoAssignSpec)}
STEP = {name: {"files": 14, "functions": 40, "depth": 7} for name in small_dense()}
STEP |= {name: {"files": 20, "functions": 75, "depth": 8} for name in small_two_stage()}
PREDICTION = {name: {"files": 12, "functions": 32, "depth": 6} for name in small_dense()}
PREDICTION |= {name: {"files": 16, "functions": 42, "depth": 8} for name in small_two_stage()}
# Torchvision has no operator for TinyDet's pooling and its soft-NMS: they are followed to the end,
# and so are its 1x1 convolutions, which PyTorch computes slowly.
STEP["tinydet"] = {"files": 22, "functions": 60, "depth": 8}
PREDICTION["tinydet"] = {"files": 19, "functions": 54, "depth": 9}


@pytest.mark.parametrize("name", SPECS)
def test_training_step(name: str) -> None:
    detector = SPECS[name].build(2).train()
    images, targets = scene()
    detector.loss(images, targets)
    seen = walk(lambda: detector.loss(images, targets), closed=("assign/",))
    _check(seen, **STEP[name])


@pytest.mark.parametrize("name", ASSIGNING)
def test_assigner(name: str) -> None:
    spec = ASSIGNING[name]
    _, targets = scene()
    grid = spec.priors([(64 // s, 64 // s) for s in spec.priors.strides])
    packed = PackedTargets.pack(targets)
    assigner = spec.assigner
    assert not isinstance(assigner, PredictionAware)
    assigner(grid, packed)
    seen = walk(lambda: assigner(grid, packed))
    _check(seen, files=8, functions=36, depth=8)


@pytest.mark.parametrize("name", SPECS)
def test_prediction(name: str) -> None:
    detector = SPECS[name].build(2).eval()
    images, _ = scene()
    detector.predict(images)
    _check(walk(lambda: detector.predict(images)), **PREDICTION[name])


@pytest.mark.parametrize(
    "name", ["demo", "cars_faster_p2_r18", "rfla/fcos_r50_p2_aitod", "rfla/cascade_r50_aitod"]
)
def test_recipe_to_model(name: str) -> None:
    # every part of a recipe checks its own values, which nobody has to follow to find the model
    seen = walk(
        lambda: load_recipe(name, ["model.backbone.pretrained=false"]).model.build(2),
        skipped=("__post_init__",),
    )
    _check(seen, files=16, functions=40, depth=8)


def test_the_counter_counts() -> None:
    targets = scene()[1]
    seen = walk(lambda: PackedTargets.pack(targets))
    assert seen.files == {"structures.py"}
    assert seen.functions == {
        ("structures.py", "PackedTargets.pack"),
        ("structures.py", "_image_index"),
    }
    assert seen.max_depth == 2
    closed = walk(lambda: PackedTargets.pack(targets), closed=("structures.py",))
    assert closed.functions == {("structures.py", "PackedTargets.pack")}
    assert walk(lambda: PackedTargets.pack(targets), closed=("struct",)).files == {"struct"}
    skipped = walk(lambda: PackedTargets.pack(targets), skipped=("_image_index",))
    assert skipped.functions == closed.functions
    assert closed.max_depth == 1
    assert closed.depth == 0


def _check(seen: Walk, *, files: int, functions: int, depth: int) -> None:
    assert len(seen.files) <= files, sorted(seen.files)
    assert len(seen.functions) <= functions, sorted(seen.functions)
    assert seen.max_depth <= depth
    assert seen.depth == 0
