"""Every packaged recipe loads, is complete, builds, and takes a step at 128 px."""

from pathlib import Path

import pytest
import torch
import yaml

from motedet.recipes import load_recipe, recipe_names
from motedet.structures import Targets

torch.set_num_threads(1)


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_builds_and_takes_a_step(name: str) -> None:
    recipe = load_recipe(name, ["model.backbone.pretrained=false"])
    classes = recipe.data.dataset.classes or ("a", "b")
    detector = recipe.model.build(len(classes)).train()
    boxes = torch.tensor([[20.0, 30.0, 32.0, 44.0], [80.0, 70.0, 110.0, 100.0]])
    targets = Targets.of(boxes, torch.tensor([0, 1]), (128, 128))
    losses = detector.loss(torch.randn(1, 3, 128, 128), [targets])
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    assert total > 0
    learning = [p for p in detector.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, learning, allow_unused=True)
    assert any(g is not None and bool((g != 0).any()) for g in gradients)
    detector.eval()
    (found,) = detector.predict(torch.randn(1, 3, 128, 128))
    assert found.boxes.shape == (len(found), 4)


@pytest.mark.parametrize("name", recipe_names())
def test_published_numbers_are_percent_and_named_like_the_protocol(name: str) -> None:
    published = load_recipe(name).published
    assert set(published) <= {"AP", "AP50", "AP75", "AP_vt", "AP_t", "AP_s", "AP_m", "AP_l"}
    assert all(0 <= value <= 100 for value in published.values())


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_inherits_or_names_a_machine(name: str) -> None:
    zoo = Path(__file__).resolve().parents[2] / "src" / "motedet" / "recipes" / "zoo"
    text = (zoo / f"{name}.yaml").read_text()
    tree = yaml.safe_load(text)
    assert not {"base", "_base_", "inherits", "workers", "root"} & set(tree)
    assert not any(word in text for word in ("/home", "/data/", "http"))
