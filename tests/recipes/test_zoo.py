"""Every packaged recipe loads, is complete, builds, and takes a step at 128 px."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from motedet.engine.schedules import build_optimizer
from motedet.models.backbones import DarkNetSpec
from motedet.models.dense import Detector, fitted_priors
from motedet.models.detectors import AutoAssignSpec, TTFNetSpec
from motedet.priors import AnyPriors
from motedet.recipes import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_names
from motedet.structures import Targets

torch.set_num_threads(1)

ZOO: Final = Path(__file__).resolve().parents[2] / "src" / "motedet" / "recipes" / "zoo"
TWO_STAGE: Final = ("faster_rcnn", "cascade_rcnn")
DENSE: Final = ("retinanet", "fcos", "atss")
ONE_STAGE: Final = (*DENSE, "ttfnet")
VALUES: Final = ("pretrained", "leaky_slope", "freeze_stem", "first_reach")  # not of the shapes
PRIORS: Final[TypeAdapter[AnyPriors]] = TypeAdapter(AnyPriors)

# RFLA's configurations, the rows of its tables, and what they are compared with.
ROWS: Final = (
    "rfla/retinanet_r50_aitod",
    "rfla/fcos_r50_aitod",
    "rfla/fcos_r50_aitodv2",
    "rfla/fcos_r50_p2_aitod",
    "rfla/fcos_r50_p2_aitodv2",
    "rfla/fcos_r50_dotav2",
    "rfla/faster_r50_aitod",
    "rfla/faster_r50_wd_aitod",
    "rfla/faster_r50_aitodv2",
    "rfla/faster_r50_dotav2",
    "rfla/faster_r50_visdrone",
    "rfla/cascade_r50_aitod",
    "rfla/cascade_r50_aitodv2",
    "rfla/detectors_r50_aitod",
    "rfla/detectors_r50_aitodv2",
    "rfla/autoassign_r50_aitod",
    "baselines/faster_r50_aitod",
    "baselines/faster_r50_aitodv2",
    "baselines/faster_r50_visdrone",
    "baselines/cascade_r50_aitod",
    "baselines/detectors_r50_aitod",
    "baselines/detectors_r50_aitodv2",
    "baselines/fcos_r50_aitod",
    "baselines/fcos_r50_aitodv2",
    "baselines/fcos_r50_p2_aitod",
    "baselines/fcos_r50_p2_aitodv2",
    "baselines/atss_r50_aitod",
    "baselines/autoassign_r50_aitod",
    "nwd/faster_r50_aitod",
    "nwd/cascade_r50_aitod",
)
RECOMMENDED: Final = (
    "rfla/retinanet_best",
    "rfla/fcos_best",
    "rfla/faster_best",
    "rfla/cascade_best",
    "rfla/detectors_best",
)

# The systems of Gaussian Assignment and their published AP and AP_vt.
GA: Final = {
    "ga/ttfnet_d53": (21.8, 10.3),
    "ga/ttfnet_mitb1": (24.2, 10.4),
    "ga/retinanet_s": (20.2, 8.7),
    "ga/fcos_s": (19.6, 7.9),
    "ga/atss_s": (20.8, 8.5),
}
GA_BEST: Final = (*(f"{system}_best" for system in GA), "ga/ttfnet_pvtv2b1_best")

RULES: Final = (  # "nwd" is max_iou with another similarity
    "max_iou",
    "nwd",
    "atss",
    "fcos",
    "hierarchical",
    "simota",
    "tal",
    "soft_label",
    "nwd_rka",
    "simd",
)

FEW: Final = (  # regions, which are most of the work of two stages at 128 px
    "model.rpn.train_proposals.max_per_image=48",
    "model.rpn.test_proposals.max_per_image=24",
    "model.sampler.num=24",
)


def tree_of(name: str) -> dict[str, Any]:
    """What the file says."""
    tree: dict[str, Any] = yaml.safe_load((ZOO / f"{name}.yaml").read_text())
    return tree


def same_networks() -> list[tuple[str, ...]]:
    """The recipes, those with the same network and kind of data set together."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in recipe_names():
        tree = tree_of(name)
        network = model = tree["model"]
        if model["kind"] in ONE_STAGE and "priors" in model:
            network = {part: model.get(part) for part in ("kind", "backbone", "neck", "head")}
            for part in ("backbone", "head"):
                kept = (network[part] or {}).items()
                network[part] = {key: value for key, value in kept if key not in VALUES}
            network["per_cell"] = PRIORS.validate_python(model["priors"]).per_cell
        key = json.dumps([network, tree["data"]["dataset"]["kind"]], sort_keys=True)
        groups[key].append(name)
    return [tuple(names) for names in groups.values()]


@pytest.mark.parametrize("names", same_networks(), ids="+".join)
def test_recipe_builds_and_takes_a_step(names: tuple[str, ...]) -> None:
    two_stage = tree_of(names[0])["model"]["kind"] in TWO_STAGE
    settings = ["model.backbone.pretrained=false", *(FEW if two_stage else ())]
    recipe, *others = (load_recipe(name, settings) for name in names)
    classes = recipe.data.dataset.classes or ("a", "b")
    detector = recipe.model.build(len(classes)).train()
    for one in (recipe, *others):
        build_optimizer(one.train.optimizer, detector)  # refuses names of no parameter
    boxes = torch.tensor([[20.0, 30.0, 32.0, 44.0], [80.0, 70.0, 110.0, 100.0]])
    targets = Targets.of(boxes, torch.tensor([0, len(classes) - 1]), (128, 128))
    losses = detector.loss(torch.randn(1, 3, 128, 128), [targets])
    learning = [p for p in detector.parameters() if p.requires_grad]
    check_losses(losses, learning)
    detector.eval()
    (found,) = detector.predict(torch.randn(1, 3, 128, 128))
    assert found.boxes.shape == (len(found), 4)
    rules = [other for other in others if other.model != recipe.model]
    if rules:
        check_other_rules(detector, rules, targets)


def check_losses(losses: dict[str, Tensor], learning: Sequence[Tensor]) -> None:
    """They are numbers that teach something."""
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    assert total > 0
    gradients = torch.autograd.grad(total, learning, allow_unused=True)
    assert any(g is not None and bool((g != 0).any()) for g in gradients)


def check_other_rules(network: Detector, recipes: Sequence[Recipe], targets: Targets) -> None:
    """The same outputs with the priors, the assigners and the losses of other recipes."""
    detector: Any = network
    with torch.no_grad():
        outputs: Any = network(torch.randn(1, 3, 128, 128))
    raw = [outputs.logits.requires_grad_(), outputs.boxes.requires_grad_()]
    for recipe in recipes:
        spec: Any = recipe.model
        priors = fitted_priors(spec.priors, detector.backbone, detector.neck.strides)
        detector.spec = replace(spec, priors=priors)
        check_losses(detector.losses(outputs, [targets]), raw)
        (found,) = detector.detections(outputs, [(128, 128)])
        assert found.boxes.shape == (len(found), 4)


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_dumps_and_reads_back_unchanged(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(dump_recipe(recipe), source="dump") == recipe
    assert parse_recipe(recipe.model_dump_json(), source="json") == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_published_numbers_are_percent_and_named_like_the_protocol(name: str) -> None:
    recipe = load_recipe(name)
    published = recipe.published
    names = {"AP", "AP50", "AP75", "AP_vt", "AP_t", "AP_s", "AP_m", "AP_l", "AP50_tiny"}
    assert set(published) <= names
    assert ("AP50_tiny" in published) == (recipe.protocol.kind == "tinyperson")
    assert all(0 <= value <= 100 for value in published.values())
    assert recipe.source or not published


@pytest.mark.parametrize("name", recipe_names())
def test_no_recipe_inherits_or_names_a_machine(name: str) -> None:
    text = (ZOO / f"{name}.yaml").read_text()
    assert not {"base", "_base_", "inherits", "workers", "root"} & set(tree_of(name))
    assert not any(word in text for word in ("/home", "/data/", "http"))


def test_every_published_row_has_a_recipe() -> None:
    assert set(ROWS) <= set(recipe_names())
    kinds = {"rfla", "baselines", "nwd"}
    others = {name for name in recipe_names() if name.split("/")[0] in kinds} - set(ROWS)
    assert others == {*RECOMMENDED, "baselines/retinanet_r50_aitod"}


def rule_of(model: dict[str, Any]) -> str:
    """The name of a dense recipe's assigner among `RULES`."""
    assigner = model["assigner"]
    return "nwd" if assigner.get("similarity") == "nwd" else str(assigner["kind"])


def test_every_rule_has_a_recipe_with_every_dense_detector() -> None:
    models = [tree_of(name)["model"] for name in recipe_names() if name.endswith("_r50_aitod")]
    known = {(model["kind"], rule_of(model)) for model in models if model["kind"] in DENSE}
    assert {(kind, rule) for kind in DENSE for rule in RULES} - known == {("retinanet", "fcos")}


def test_every_rule_has_a_small_recipe() -> None:
    models = [tree_of(name)["model"] for name in recipe_names() if name.startswith("sirst_")]
    assert set(RULES) <= {rule_of(model) for model in models if model["kind"] in DENSE}


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("rfla/")])
def test_rows_of_rfla_have_what_shaped_their_numbers(name: str) -> None:
    recipe = load_recipe(name)
    model: Any = recipe.model
    priors = model.rpn.priors if model.kind in TWO_STAGE else model.priors
    assert priors.kind == "receptive_fields"
    assert priors.source == "r50_reference"
    assert not recipe.data.keep_empty
    if model.kind in TWO_STAGE:
        assert model.rpn.target_prior_ratio == model.rpn.assigner.ratio == 0.9
        assert model.rpn.allowed_border == (0 if model.kind == "cascade_rcnn" else None)
        assert model.rpn.train_proposals == model.rpn.test_proposals
    if model.kind == "fcos":
        assert model.assigner.shared_priors
        assert model.ignored_as_background
    if model.kind == "autoassign":  # without a published number, and so without the code's slip
        assert model.bag_rule == "assigned"
        assert model.bag.topk == (4, 1)


def test_autoassign_on_coco_is_the_default_model() -> None:
    recipe = load_recipe("autoassign/autoassign_r50_caffe_coco")
    assert recipe.model == AutoAssignSpec()
    assert recipe.train.clip_norm is None
    assert recipe.published == {"AP": 40.4}


@pytest.mark.parametrize("name", RECOMMENDED)
def test_recommended_recipes_leave_the_oddities_off(name: str) -> None:
    recipe = load_recipe(name)
    model: Any = recipe.model
    first = model.rpn if model.kind in TWO_STAGE else model
    assert recipe.data.keep_empty
    assert not first.assigner.shared_priors
    assert first.priors.source == "network"
    if model.kind in TWO_STAGE:
        assert first.target_prior_ratio == 1
        assert first.allowed_border is None
    if model.kind == "fcos":
        assert not model.ignored_as_background


def test_every_system_of_gaussian_assignment_has_its_recipes() -> None:
    known = {name for name in recipe_names() if name.startswith("ga/")}
    assert known == {*(f"{system}_aitod" for system in GA), *GA_BEST}


@pytest.mark.parametrize("system", GA)
def test_rows_of_gaussian_assignment_have_what_shaped_their_numbers(system: str) -> None:
    recipe = load_recipe(f"{system}_aitod")
    model: Any = recipe.model
    assert recipe.published == dict(zip(("AP", "AP_vt"), GA[system], strict=True))
    assert model.assigner.kind == "gaussian"
    assert model.head.first_reach == 0
    assert (recipe.data.oversample_thresh is None) == (system == "ga/retinanet_s")
    if model.backbone.kind == "darknet53":
        assert model.backbone.freeze_stem
        assert recipe.train.loss_scale == 512
    if model.kind == "fcos":
        assert model.ctrness_from == "corners"
        assert sides(recipe.data.train_transforms) == (512, 640)


def test_ttfnet_on_ai_tod_is_the_default_model() -> None:
    recipe = load_recipe("ga/ttfnet_d53_aitod")
    assert recipe.model == TTFNetSpec(backbone=DarkNetSpec(freeze_stem=True))
    assert min(recipe.train.schedule.drop_epochs) > (recipe.train.epochs or 0)  # never


@pytest.mark.parametrize("name", GA_BEST)
def test_recommended_recipes_of_gaussian_assignment_leave_the_oddities_off(name: str) -> None:
    recipe = load_recipe(name)
    model: Any = recipe.model
    assert recipe.data.keep_empty
    assert recipe.data.oversample_thresh == 0.06
    assert sides(recipe.data.train_transforms) == sides(recipe.data.test_transforms)
    schedule = recipe.train.schedule
    assert schedule.kind == "poly" or max(schedule.drop_epochs) < (recipe.train.epochs or 0)
    (centre,) = model.priors([(1, 1)]).points().tolist()
    assert centre == [2, 2]  # of a cell of 4 pixels
    if model.head.in_strides:
        assert model.head.first_reach == 1
    assert not getattr(model.backbone, "freeze_stem", False)
    assert model.backbone.pretrained == (model.backbone.kind != "mit")  # timm has none of MiT
    assert getattr(model, "detach_iou", True)
    assert getattr(model, "ctrness_from", "padded_distances") == "padded_distances"


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("exp1_2_faster", {"AP50_tiny": 49.81}),
        ("exp2_3_retinanet", {"AP50_tiny": 45.22}),
        ("exp4_0_faster_sm", {"AP": 18.9, "AP50_tiny": 50.85}),
        ("exp4_1_faster_sm", {"AP": 18.5, "AP50_tiny": 50.30}),
        ("exp4_2_faster_msm", {"AP": 12.1, "AP50_tiny": 50.18}),
        ("exp5_1_retinanet_sm", {"AP": 19.6, "AP50_tiny": 51.78}),
        ("exp5_2_retinanet_msm", {"AP": 12.9, "AP50_tiny": 50.00}),
        ("exp6_1_fcos", {"AP50_tiny": 47.61}),
    ],
)
def test_experiments_of_scale_match_are_complete(name: str, stages: dict[str, float]) -> None:
    recipe = load_recipe(f"tinyperson/{name}")
    published = dict(recipe.published)
    tiles = recipe.test_tiles
    assert tiles is not None
    assert (tiles.size, tiles.overlap, tiles.merge.kind) == ((512, 640), 100, "nms")
    model: Any = recipe.model
    anchors = model.rpn.priors if model.kind in TWO_STAGE else model.priors
    assert anchors.strides == (4, 8, 16, 32, 64)
    if "AP" in stages:
        first = load_recipe(f"tinyperson/{name}_coco")
        published |= first.published
        before: Any = first.model
        assert replace(before, backbone=model.backbone, postprocess=model.postprocess) == model
        assert before.backbone.train_bn_affine
        matching: Any = first.data.train_transforms[0]
        kind = "monotone_scale_match" if "msm" in name else "scale_match"
        assert (matching.kind, matching.target, matching.antialias) == (kind, "", False)
    assert published == stages
    assert not model.backbone.train_bn_affine


def sides(transforms: Sequence[Any]) -> Any:  # noqa: ANN401 - a size, checked by the comparison
    """(height, width) after the resizing among some transforms."""
    return next(step.size for step in transforms if step.kind == "resize")
