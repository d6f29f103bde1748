"""The command as a user types it: what it prints, what it writes, and its exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fake_data import write_dota
from motedet.checkpoints import save_weights
from motedet.cli.score import NAMES, chosen_protocol
from motedet.cli.tile import tile
from motedet.data.check import check_dataset
from motedet.data.synthetic import SceneSpec, write_scenes
from motedet.errors import DataError
from motedet.recipes import load_recipe

TINY = ["model.neck.out_channels=16", "model.head.channels=16", "model.head.groups=4"]


def motedet(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "motedet", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(size=(96, 96)), train=3, val=2, seed=5)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with their recipe inside; low scores, but a file like any other."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    recipe = load_recipe("demo", TINY)
    classes = ("vehicle", "ship", "storage-tank")
    state = recipe.model.build(3).state_dict()
    save_weights(path, state, recipe_json=recipe.model_dump_json(), classes=classes)
    return path


def test_a_foreseen_error_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = motedet("train", "no_such_recipe", "--data", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no recipe named 'no_such_recipe'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_near_name_is_offered(tmp_path: Path) -> None:
    done = motedet("train", "cars_fcos_p2_r50", "--data", tmp_path)
    assert "did you mean cars_fcos_p2_r18" in done.stderr


def test_what_cannot_be_written_is_one_line(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = motedet("data", "check", scenes, "-o", tmp_path / "file")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(f"error: {tmp_path / 'file'}")
    assert len(done.stderr.strip().splitlines()) == 1


def test_data_check_of_nothing_is_one_line(tmp_path: Path) -> None:
    done = motedet("data", "check", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip() == f"error: {tmp_path / 'nowhere'}: no such file or folder."


def test_only_known_splits_are_scored(weights: Path, scenes: Path) -> None:
    done = motedet("evaluate", weights, "--data", scenes, "--split", "test")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: the split must be train or val; found 'test'."


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = motedet("--debug", "train", "no_such_recipe", "--data", tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_recipes_lists_names_and_published_ap() -> None:
    done = motedet("recipes")
    assert done.returncode == 0
    assert "rfla/fcos_r50_p2_aitod" in done.stdout
    assert "0.163" in done.stdout


def test_recipes_prints_one_as_yaml() -> None:
    assert "assigner:" in motedet("recipes", "demo").stdout


def test_data_check_counts_and_draws(scenes: Path, tmp_path: Path) -> None:
    done = motedet("data", "check", scenes, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "5 images" in done.stdout
    with Image.open(tmp_path / "out" / "sizes.png") as picture:
        assert min(picture.size) > 100


def test_data_check_ends_with_2_on_fatal_problems(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for image in sorted((scenes / "images").iterdir())[1:]:
        (folder / "images" / image.name).write_bytes(image.read_bytes())
    for split in ("train", "val"):
        text = (scenes / "annotations" / f"{split}.json").read_text()
        (folder / "annotations" / f"{split}.json").write_text(text)
    done = motedet("data", "check", folder)
    assert done.returncode == 2
    assert "missing image" in done.stdout
    assert "1 fatal" in done.stdout


def test_tile_writes_tiles_that_data_check_likes(tmp_path: Path) -> None:
    source, out = write_dota(tmp_path / "source"), tmp_path / "tiles"
    where: list[Any] = [source, "-o", out, "--dataset", "dota", "--split", "val"]
    words = ("tile", *where, "--size", 64, "--overlap", 16)
    done = motedet(*words)
    assert done.returncode == 0, done.stderr
    assert "wrote 2 tiles with 3 objects and 0 regions" in done.stdout
    assert (out / "annotations" / "dota_v2.0_val.json").is_file()
    assert check_dataset(out).fatal == ()
    again = motedet(*words)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"overlap": 64}, "--overlap must be less than --size 64; found 64"),
        ({"dataset": "voc"}, "must be one of dota, visdrone, folder; found 'voc'"),
    ],
)
def test_tile_names_bad_options(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        tile(tmp_path, tmp_path / "out", **({"size": 64, "overlap": 8} | options))


def test_score_needs_no_model(scenes: Path, tmp_path: Path) -> None:
    truth = json.loads((scenes / "annotations" / "val.json").read_text())
    found = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    done = motedet(
        "score",
        scenes / "annotations" / "val.json",
        tmp_path / "found.json",
        "--json",
        tmp_path / "scores.json",
    )
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "scores.json").read_text())["values"]
    assert values["AP"] == pytest.approx(1.0)
    assert values["oLRP"] == pytest.approx(0.0)


def test_score_refuses_to_overwrite(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("mine")
    (tmp_path / "found.json").write_text("[]")
    truth = scenes / "annotations" / "val.json"
    done = motedet("score", truth, tmp_path / "found.json", "--json", tmp_path / "scores.json")
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert (tmp_path / "scores.json").read_text() == "mine"


def test_score_names_an_unknown_protocol(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text("[]")
    truth = scenes / "annotations" / "val.json"
    done = motedet("score", truth, tmp_path / "found.json", "--protocol", "voc")
    assert done.returncode == 2
    assert "aitod, coco" in done.stderr


def test_score_by_bins_and_by_tinyperson(scenes: Path, tmp_path: Path) -> None:
    truth = scenes / "annotations" / "val.json"
    found, scores = tmp_path / "found.json", tmp_path / "scores.json"
    found.write_text("[]")
    done = motedet("score", truth, found, "--bins", "2,8,16", "--json", scores)
    assert done.returncode == 0, done.stderr
    record = json.loads(scores.read_text())
    assert {"AP_2_8", "AP_8_16", "AP_16+"} < set(record["values"])
    assert record["stamp"]["protocol"]["sides"] == [2.0, 8.0, 16.0]
    done = motedet("score", truth, found, "--protocol", "tinyperson", "--json", scores, "--force")
    assert done.returncode == 0, done.stderr
    again = json.loads(scores.read_text())
    assert {"AP50_tiny", "AR75_small", "MR50_tiny1"} < set(again["values"])
    assert again["stamp"]["data_sha256"] == record["stamp"]["data_sha256"]
    assert f"data {record['stamp']['data_sha256'][:12]}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"bins": "2,x"}, "--bins must be ascending numbers such as 2,8,16,32; found '2,x'"),
        ({"bins": "8,2"}, "--bins must be ascending numbers such as 2,8,16,32; found '8,2'"),
        ({"bins": "2,8", "name": "coco"}, "give --protocol coco or --bins 2,8, not both"),
        ({"name": "voc"}, "--protocol must be one of aitod, coco, .*visdrone; found 'voc'"),
    ],
    ids=["no-number", "order", "both", "unknown"],
)
def test_protocol_options_name_what_is_wrong(options: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        chosen_protocol(options.get("name"), options.get("bins"))


def test_help_names_every_protocol() -> None:
    from motedet.metrics import PROTOCOLS

    assert set(NAMES.split(", ")) == set(PROTOCOLS)
    assert all(chosen_protocol(name, None) == PROTOCOLS[name] for name in PROTOCOLS)
    assert chosen_protocol(None, None) is None


def test_evaluate_by_bins(weights: Path, scenes: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    done = motedet("evaluate", weights, "--data", scenes, "--bins", "4,12", "--json", scores)
    assert done.returncode == 0, done.stderr
    record = json.loads(scores.read_text())
    assert {"AP_4_12", "AR_12+"} < set(record["values"])
    assert record["stamp"]["images"] == 2


def test_evaluate_writes_scores_and_detections(weights: Path, scenes: Path, tmp_path: Path) -> None:
    scores, found = tmp_path / "scores.json", tmp_path / "found.json"
    done = motedet(
        "evaluate", weights, "--data", scenes, "--protocol", "coco",
        "--json", scores, "--detections", found,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "AR@100" in json.loads(scores.read_text())["values"]
    assert isinstance(json.loads(found.read_text()), list)


def test_predict_goes_on_after_an_unreadable_file(
    weights: Path, scenes: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    out = tmp_path / "out"
    done = motedet("predict", weights, scenes / "images", broken, "-o", out, "--score", "0")
    assert done.returncode == 1
    assert str(broken) in done.stderr
    assert "1 of 6 files could not be read" in done.stderr
    images = json.loads((out / "images.json").read_text())["images"]
    assert len(images) == 5
    assert len(list((out / "drawings").glob("*.png"))) == 5
    assert len(list((out / "labels").glob("*.txt"))) == 5
    rows = (out / "detections.csv").read_text().splitlines()
    assert rows[0] == "file,class,score,x1,y1,x2,y2"
    assert len(rows) - 1 == len(json.loads((out / "detections.json").read_text()))


def test_predict_without_detections_is_ordinary(
    weights: Path, scenes: Path, tmp_path: Path
) -> None:
    pattern = f"{scenes}/images/val*.png"
    out = tmp_path / "out"
    done = motedet("predict", weights, pattern, "-o", out, "--score", "1", "--format", "coco")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "detections.json").read_text()) == []
    assert not (out / "labels").exists()


def test_predict_names_a_source_that_matches_nothing(weights: Path, tmp_path: Path) -> None:
    done = motedet("predict", weights, tmp_path / "none*.png", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "none*.png" in done.stderr
    assert not (tmp_path / "out").exists()


def test_predict_does_not_write_into_a_folder_with_files(
    weights: Path, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = motedet("predict", weights, scenes / "images", "-o", tmp_path)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_import_checkpoint_makes_a_file_that_predicts(tmp_path: Path, scenes: Path) -> None:
    import torch

    settings = ["classes=[a, b]", "model.neck.out_channels=16", "model.head.channels=16"]
    options = [word for s in [*settings, "model.head.groups=4"] for word in ("--set", s)]
    model = load_recipe("demo", [*settings[1:], "model.head.groups=4"]).model.build(2)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "published.pth")
    out = tmp_path / "ours.safetensors"
    done = motedet(
        "import-checkpoint", tmp_path / "published.pth", "--recipe", "demo", "-o", out, *options
    )
    assert done.returncode == 0, done.stderr
    image = next((scenes / "images").iterdir())
    assert motedet("predict", out, image, "-o", tmp_path / "found").returncode == 0


def test_import_checkpoint_lists_names_that_do_not_fit(tmp_path: Path) -> None:
    import torch

    torch.save({"state_dict": {"bbox_head.x": torch.zeros(1)}}, tmp_path / "other.pth")
    done = motedet(
        "import-checkpoint", tmp_path / "other.pth", "--recipe", "rfla/fcos_r50_aitod",
        "-o", tmp_path / "ours.safetensors",
    )  # fmt: skip
    assert done.returncode == 2
    assert "bbox_head.x" in done.stderr
    assert "backbone.conv1.weight" in done.stderr
    assert not (tmp_path / "ours.safetensors").exists()


TINY_TWO_STAGE = [
    "model.backbone.name=resnet18",
    "model.backbone.frozen_stages=0",
    "model.neck.out_channels=16",
    "model.rpn.channels=16",
    "model.rpn.train_proposals.max_per_image=50",
    "model.rpn.test_proposals.max_per_image=50",
    "model.head.channels=16",
]


@pytest.mark.parametrize("recipe", ["faster_r50_coco", "rfla/cascade_r50_aitod"])
def test_import_checkpoint_of_two_stages_predicts_the_same(recipe: str, tmp_path: Path) -> None:
    import torch

    from motedet.engine.weights import build_untrained, load

    settings = [*TINY_TWO_STAGE, "model.postprocess.score_thresh=0.0"]
    loaded = load_recipe(recipe, settings)
    classes = loaded.data.dataset.classes or ()
    model = build_untrained(loaded, len(classes)).eval()
    assert {"rpn_head", "roi_head"} < {name.split(".")[0] for name in model.state_dict()}
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "published.pth")
    out = tmp_path / "ours.safetensors"
    options = [word for s in settings for word in ("--set", s)]
    done = motedet(
        "import-checkpoint", tmp_path / "published.pth", "--recipe", recipe, "-o", out, *options
    )
    assert done.returncode == 0, done.stderr

    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    imported = load(out, device="cpu")
    assert imported.classes == tuple(classes)
    (found,), (expected,) = imported.predict_batch(images, [(96, 96)]), model.predict(images)
    assert len(found) > 0
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)


def test_two_stages_are_trained_and_reported(scenes: Path, tmp_path: Path) -> None:
    settings = [
        *TINY_TWO_STAGE,
        "data.dataset.merge_into=null",
        "data.train_transforms.1.size=[64, 64]",
        "train.epochs=4",  # of three steps; every tenth is logged
        "train.batch_size=1",
    ]
    options = [word for s in settings for word in ("--set", s)]
    run, recipe = tmp_path / "run", "cars_faster_p2_r18"
    done = motedet("train", recipe, "--data", scenes, "-o", run, "--threads", 1, *options)
    assert done.returncode == 0, done.stderr
    page = (run / "report.html").read_text()
    assert "faster_rcnn, resnet18" in page
    assert "loss_rpn_box" in (run / "history.csv").read_text()

    (run / "report.html").unlink()
    done = motedet("report", run, "--data", scenes)
    assert done.returncode == 0, done.stderr
    assert (run / "report.html").read_text() == page


def test_recipes_names_detectors_of_two_stages() -> None:
    lines = [line.split() for line in motedet("recipes").stdout.splitlines()]
    assert ["cars_faster_p2_r18", "-", "faster", "hierarchical", "folder"] in lines
    assert ["rfla/detectors_r50_aitod", "0.248", "detectors", "hierarchical", "aitod"] in lines
    caption = [line[:3] for line in lines].index(["AP", "as", "published,"])
    assert {len(line) for line in lines[3:caption]} == {5}  # every row fits into 80 characters
