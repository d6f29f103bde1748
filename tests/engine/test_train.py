"""Training on a few small scenes: what it leaves behind, and how it stops and goes on."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from motedet.data.synthetic import SceneSpec, write_scenes
from motedet.engine import Hardware, evaluate, load, predict, train
from motedet.errors import DataError, RecipeError, TrainingError
from motedet.recipes import Recipe, load_recipe

SMALL = [
    "train.epochs=2",
    "train.batch_size=4",
    "train.precision='32'",
    "train.validate_every=1",
    "train.schedule.warmup_steps=2",
    "model.neck.out_channels=16",
    "model.head.channels=16",
    "model.head.groups=4",
    "model.head.num_convs=1",
    "model.backbone.freeze_bn=true",
]
CPU = Hardware(accelerator="cpu")

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about workers and intervals


def small(*settings: str) -> Recipe:
    return load_recipe("demo", [*SMALL, *settings])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(size=(96, 96)), train=10, val=3, seed=1)
    return folder


@pytest.fixture(scope="module")
def finished(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(small(), scenes, run=run, hardware=CPU)
    return run


def losses(run: Path) -> list[float]:
    rows: list[dict[str, str]] = []
    for part in sorted((run / "logs").glob("part_*/metrics.csv")):
        with part.open() as stream:
            rows += list(csv.DictReader(stream))
    return [float(row["loss"]) for row in rows if row.get("loss")]


def same_weights(left: Path, right: Path, tolerance: float = 0.0) -> bool:
    a, b = load_file(left / "last.safetensors"), load_file(right / "last.safetensors")
    return a.keys() == b.keys() and all(
        torch.allclose(a[k].double(), b[k].double(), rtol=0, atol=tolerance) for k in a
    )


def test_a_run_folder_is_complete(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names >= {
        "recipe.yaml",
        "best.safetensors",
        "last.safetensors",
        "last.ckpt",
        "metrics.json",
        "detections.json",
        "logs",
    }
    assert list((finished / "logs" / "part_0").glob("events.*"))
    assert not [n for n in names if n.startswith(".")]


def test_weights_hold_their_recipe_and_classes(finished: Path) -> None:
    loaded = load(finished / "best.safetensors")
    assert loaded.recipe.name == "demo"
    assert len(loaded.classes) == loaded.detector.num_classes == 3


def test_evaluate_repeats_the_scores_of_the_run(finished: Path, scenes: Path) -> None:
    scores, results = evaluate(finished / "best.safetensors", scenes)
    import json

    saved = json.loads((finished / "metrics.json").read_text())["values"]
    assert scores.values == pytest.approx(saved)
    assert len(results) == len(json.loads((finished / "detections.json").read_text()))


def test_predict_follows_torchvisions_convention(finished: Path, scenes: Path) -> None:
    image = next((scenes / "images").iterdir())
    (found,) = predict(finished / "best.safetensors", image)
    assert set(found) == {"boxes", "labels", "scores"}
    assert found["boxes"].shape == (len(found["scores"]), 4)
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_a_second_run_in_the_folder_is_refused(finished: Path, scenes: Path) -> None:
    before = (finished / "last.safetensors").read_bytes()
    with pytest.raises(DataError, match=r"there is a run already.*--resume.*--force"):
        train(small(), scenes, run=finished, hardware=CPU)
    assert (finished / "last.safetensors").read_bytes() == before


def test_resume_refuses_another_recipe(finished: Path, scenes: Path) -> None:
    with pytest.raises(RecipeError, match=r"differs at train\.optimizer\.lr"):
        train(small("train.optimizer.lr=0.5"), scenes, run=finished, resume=True, hardware=CPU)


def test_resume_without_a_run_says_so(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to resume"):
        train(small(), scenes, run=tmp_path / "none", resume=True, hardware=CPU)


def test_a_missing_data_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path / "nowhere")):
        train(small(), tmp_path / "nowhere", run=tmp_path / "run", hardware=CPU)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_the_images(scenes: Path, tmp_path: Path) -> None:
    recipe = small("train.optimizer.lr=1e30", "train.schedule.warmup=none", "train.ema_decay=null")
    with pytest.raises(TrainingError, match=r"not finite .* images \[\d+, \d+, \d+, \d+\]"):
        train(recipe, scenes, run=tmp_path / "run", hardware=CPU)


KILLED = """
import os, signal, sys
from pathlib import Path
from motedet.engine import Hardware, callbacks, fit, module
from motedet.recipes import load_recipe

callbacks.SAVE_SECONDS = 0.0  # save after every step
step = module.DetectorModule.training_step
count = 0

def dying_step(self, batch, batch_idx):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.{signal})
    return step(self, batch, batch_idx)

module.DetectorModule.training_step = dying_step
recipe = load_recipe("demo", sys.argv[4:])
fit.train(recipe, Path(sys.argv[1]), run=Path(sys.argv[2]), hardware=Hardware(accelerator="cpu"))
"""


def stop_at(
    step: int, how: str, scenes: Path, run: Path, *settings: str
) -> subprocess.CompletedProcess[str]:
    """Train in another process that gets a signal at the given step."""
    code = KILLED.format(signal=how)
    return subprocess.run(
        [sys.executable, "-c", code, str(scenes), str(run), str(step), *SMALL, *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("step", [2, 4], ids=["in the first epoch", "in the second epoch"])
def test_resume_after_kill_gives_the_weights_of_an_uninterrupted_run(
    step: int, finished: Path, scenes: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    done = stop_at(step, "SIGKILL", scenes, run)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (run / "metrics.json").exists()
    train(small(), scenes, run=run, resume=True, hardware=CPU)
    assert same_weights(finished, run)


def test_ctrl_c_ends_the_step_and_saves(finished: Path, scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    done = stop_at(1, "SIGINT", scenes, run)
    assert done.returncode == 1
    assert "stopped on request" in done.stderr
    assert (run / "last.safetensors").exists()
    train(small(), scenes, run=run, resume=True, hardware=CPU)
    assert same_weights(finished, run)


SGD = ["train.optimizer.kind=sgd", "train.optimizer.lr=0.02"]  # AdamW magnifies rounding
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def alone(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    train(small(*SGD), scenes, run=run, hardware=CPU)
    return run


@pytest.mark.parametrize(
    ("launcher", "options"),
    [([], ["--devices", "2"]), (TORCHRUN, [])],
    ids=["lightning", "torchrun"],
)
def test_two_processes_train_as_one(
    launcher: list[str], options: list[str], alone: Path, scenes: Path, tmp_path: Path
) -> None:
    two = tmp_path / "two"
    settings = [part for s in [*SMALL, *SGD] for part in ("--set", s)]
    command = [sys.executable, *launcher, "-m", "motedet", "train", "demo", "--data", str(scenes)]
    done = subprocess.run(
        [*command, "-o", str(two), "--accelerator", "cpu", *options, *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert same_weights(alone, two, tolerance=1e-5)
    assert (two / "report.html").exists()


BY_STEPS = [  # three steps are an epoch; the second ends after its second
    "train.epochs=null",
    "train.steps=5",
    "train.batch_size=3",
    "train.validate_every=5",
]


@pytest.fixture(scope="module")
def by_steps(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "by_steps"
    train(small(*BY_STEPS), scenes, run=run, hardware=CPU)
    return run


def state(run: Path) -> dict[str, Any]:
    """What a restart reads."""
    content: dict[str, Any] = torch.load(run / "last.ckpt", weights_only=False)
    return content


def validations(run: Path) -> list[str]:
    """The steps after which the validation images were scored, counted from 0."""
    found = []
    for part in sorted((run / "logs").glob("part_*/metrics.csv")):
        with part.open() as stream:
            found += [row["step"] for row in csv.DictReader(stream) if row.get("AP")]
    return found


def test_training_by_steps_ends_validated_and_saved(by_steps: Path) -> None:
    saved = state(by_steps)
    assert saved["global_step"] == 5
    assert saved["lr_schedulers"][0]["last_epoch"] == 5
    assert saved["lr_schedulers"][0]["_last_lr"][0] == pytest.approx(1e-5)  # 0.01 of the lr
    assert validations(by_steps) == ["4"]
    best, last = (load_file(by_steps / f"{name}.safetensors") for name in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in best)


def test_training_by_steps_may_end_in_the_first_epoch(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recipe = small(*BY_STEPS, "train.steps=1", "data.oversample_thresh=0.9", "train.batch_size=4")
    run = tmp_path / "run"
    train(recipe, scenes, run=run, hardware=CPU)
    assert state(run)["global_step"] == 1
    assert validations(run) == ["0"]
    assert (run / "metrics.json").exists()
    assert "listings of 10 images" in caplog.text
    assert "epoch 1/1, step 1/1  loss" in caplog.text


def test_training_by_steps_goes_on_exactly(by_steps: Path, scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    done = stop_at(5, "SIGKILL", scenes, run, *BY_STEPS)
    assert done.returncode == -signal.SIGKILL, done.stderr
    train(small(*BY_STEPS), scenes, run=run, resume=True, hardware=CPU)
    assert same_weights(by_steps, run)
    assert validations(run) == ["4"]  # though the epoch goes on without its start


def test_resume_at_the_end_changes_nothing(by_steps: Path, scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "again"
    shutil.copytree(by_steps, run)
    (run / "metrics.json").unlink()  # as if killed before the last evaluation
    train(small(*BY_STEPS), scenes, run=run, resume=True, hardware=CPU)
    assert same_weights(by_steps, run)
    assert (run / "metrics.json").read_text() == (by_steps / "metrics.json").read_text()
    assert validations(run) == ["4"]


def test_accumulated_batches_are_one_step(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(small(*BY_STEPS, "train.steps=3", "train.accumulate=2"), scenes, run=run, hardware=CPU)
    assert state(run)["global_step"] == 3  # two in the first epoch, of two batches and of one
    assert validations(run) == ["2"]


def test_names_of_no_part_are_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no part 'head'; its parts are backbone, bbox_head"):
        train(
            small("train.optimizer.lr_factors={head: 10}"),
            scenes,
            run=tmp_path / "run",
            hardware=CPU,
        )


def test_a_loss_scale_is_left_out_on_a_cpu(
    scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = small("train.epochs=1", "train.precision=16-mixed", "train.loss_scale=512")
    train(recipe, scenes, run=tmp_path / "run", hardware=CPU)
    assert "on a CPU, 16-mixed becomes bf16-mixed" in caplog.text


def test_windows_are_trained_on_and_whole_images_scored(scenes: Path, tmp_path: Path) -> None:
    tiles = ["data.tiles={size: 64, overlap: 16}", "test_tiles={size: 64, overlap: 16}"]
    result = train(small(*tiles), scenes, run=tmp_path / "run", hardware=CPU)
    assert "AP" in result.scores.values
    results = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {entry["image_id"] for entry in results} <= {1, 2, 3}
    again, _ = evaluate(result.weights, scenes, batch_size=3)
    assert again.values["AP"] == pytest.approx(result.scores.values["AP"], abs=1e-6)
