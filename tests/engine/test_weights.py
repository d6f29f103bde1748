from pathlib import Path

import pytest
import torch

from motedet.checkpoints import save_weights
from motedet.engine.weights import (
    backbones,
    build_untrained,
    load,
    round_weights_,
    start_from,
    with_pretrained,
)
from motedet.errors import CheckpointError, MotedetError
from motedet.models.backbones import BackboneSpec
from motedet.recipes import Recipe, load_recipe
from raised_detectors import small
from small_detectors import scene, small_specs

TINY = ["model.neck.out_channels=16", "model.head.channels=16", "model.head.groups=4"]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", [*TINY, "model.backbone.pretrained=true"])


@pytest.fixture(scope="module")
def file(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "two.safetensors"
    state = build_untrained(recipe, 2).state_dict()
    save_weights(path, state, recipe_json=recipe.model_dump_json(), classes=("a", "b"))
    return path


def test_loading_fetches_nothing_and_is_ready_to_predict(file: Path) -> None:
    loaded = load(file, device="cpu")
    assert loaded.classes == ("a", "b")
    assert not loaded.detector.training
    (found,) = loaded.predict_batch(torch.zeros(1, 3, 64, 64), [(64, 64)])
    assert found.boxes.shape == (len(found), 4)


def test_bf16_is_what_autocast_makes_of_the_weights(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # slow but right where the processor has no such instructions
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    plain, rounded = load(file, device="cpu"), load(file, device="cpu", precision="bf16")
    assert rounded.detector.get_parameter("backbone.conv1.weight").dtype == torch.bfloat16
    assert rounded.detector.get_parameter("backbone.bn1.weight").dtype == torch.float32
    images, sizes = torch.randn(2, 3, 64, 64), [(64, 64), (50, 60)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain.predict_batch(images, sizes)
    for found, other in zip(rounded.predict_batch(images, sizes), expected, strict=True):
        assert torch.equal(found.boxes, other.boxes)
        assert torch.equal(found.scores, other.scores)
        assert found.boxes.dtype == found.scores.dtype == torch.float32


@pytest.mark.parametrize("name", small_specs())
def test_rounding_once_is_as_good_as_in_every_pass(name: str) -> None:
    images, _ = scene()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        detector = small(name)
        expected = detector.predict(images)
        round_weights_(detector)
        found = detector.predict(images)
    assert sum(map(len, found)) > 0
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)


def test_bf16_is_refused_where_it_would_be_slow(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(MotedetError, match="no bfloat16 instructions on this cpu"):
        load(file, device="cpu", precision="bf16")


def test_fine_tuning_keeps_all_but_the_classes(recipe: Recipe, file: Path) -> None:
    detector = build_untrained(recipe, 5)
    start_from(detector, file)
    saved, own = load(file, device="cpu").detector.state_dict(), detector.state_dict()
    assert torch.equal(own["backbone.conv1.weight"], saved["backbone.conv1.weight"])
    assert own["bbox_head.conv_cls.weight"].shape[0] == 5


def test_a_backbone_alone_is_enough_to_start_from(recipe: Recipe, tmp_path: Path) -> None:
    backbone = build_untrained(recipe, 2).backbone.state_dict()
    torch.save(backbone, tmp_path / "resnet.pth")
    detector = build_untrained(recipe, 2)
    start_from(detector, tmp_path / "resnet.pth")
    assert torch.equal(detector.state_dict()["backbone.conv1.weight"], backbone["conv1.weight"])


RECURSIVE = "rfla/detectors_r50_aitod"
SMALL_RECURSIVE = [
    "model.backbone.name=resnet18",
    "model.neck.backbone.name=resnet18",
    "model.neck.out_channels=16",
    "model.neck.aspp_channels=4",
    "model.rpn.channels=16",
    "model.head.channels=16",
]


def test_the_second_backbone_of_a_recursive_neck_goes_with_the_first(tmp_path: Path) -> None:
    recipe = load_recipe(RECURSIVE, SMALL_RECURSIVE)
    assert [b.name for b in backbones(recipe)] == ["resnet18", "resnet18"]
    fetching = with_pretrained(recipe, pretrained=True)
    assert [b.pretrained for b in backbones(fetching)] == [True, True]
    assert with_pretrained(fetching, pretrained=False) == recipe
    detector = build_untrained(fetching, 2)  # fetches nothing

    plain = BackboneSpec(name="resnet18").build().state_dict()
    torch.save(plain, tmp_path / "resnet.pth")
    start_from(detector, tmp_path / "resnet.pth")
    started = detector.state_dict()
    for body in ("backbone", "neck.rfp_modules.0"):
        assert torch.equal(started[f"{body}.layer1.0.conv1.weight"], plain["layer1.0.conv1.weight"])


def test_other_necks_have_no_backbone_of_their_own(recipe: Recipe) -> None:
    assert [b.pretrained for b in backbones(recipe)] == [True]
    assert [b.pretrained for b in backbones(with_pretrained(recipe, pretrained=False))] == [False]


def test_weights_of_something_else_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"x": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match="none of its 1 entries fits"):
        start_from(build_untrained(recipe, 2), path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        load(tmp_path / "none.safetensors")
