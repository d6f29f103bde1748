"""Training a detector of two stages: it draws at random, and still ends in the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motedet.data.synthetic import SceneSpec, write_scenes
from motedet.engine import Hardware, callbacks, module, train
from motedet.recipes import Recipe, load_recipe

RECIPE = "cars_faster_p2_r18"
SMALL = [
    "data.dataset.merge_into=null",
    "data.train_transforms.1.size=[64, 64]",
    "train.epochs=2",
    "train.batch_size=2",
    "train.precision='32'",
    "train.validate_every=2",
    "train.schedule.warmup_steps=2",
    "model.backbone.freeze_bn=true",
    "model.neck.out_channels=16",
    "model.rpn.channels=16",
    "model.head.channels=16",
]
CPU = Hardware(accelerator="cpu")

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice about workers and intervals


def small(*settings: str) -> Recipe:
    return load_recipe(RECIPE, [*SMALL, *settings])


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes to train on; two of them without objects."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(size=(96, 96)), train=6, val=2, seed=1)
    path = folder / "annotations" / "train.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] > 2]
    path.write_text(json.dumps(content))
    return folder


def largest_difference(left: Path, right: Path) -> float:
    """Between the last weights of two runs."""
    a, b = load_file(left / "last.safetensors"), load_file(right / "last.safetensors")
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


def test_resume_gives_the_weights_of_an_uninterrupted_run(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(small(), scenes, run=tmp_path / "whole", hardware=CPU)

    done, step = 0, module.DetectorModule.training_step

    def failing_step(self: module.DetectorModule, batch: object, batch_idx: int) -> torch.Tensor:
        nonlocal done
        done += 1
        if done == 5:  # in the second epoch
            raise OSError("no more power")
        return step(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "SAVE_SECONDS", 0.0)  # save after every step
        patch.setattr(module.DetectorModule, "training_step", failing_step)
        with pytest.raises(OSError, match="no more power"):
            train(small(), scenes, run=tmp_path / "cut", hardware=CPU)
    assert largest_difference(tmp_path / "whole", tmp_path / "cut") > 0
    train(small(), scenes, run=tmp_path / "cut", resume=True, hardware=CPU)
    assert largest_difference(tmp_path / "whole", tmp_path / "cut") == 0


SHARED = [
    "train.epochs=1",
    "train.optimizer.kind=sgd",  # AdamW magnifies rounding
    "train.optimizer.lr=0.02",
    # Proposals whose scores differ by rounding may change places, so all of them learn here; that
    # two processes draw the same is shown in float64, in test_shared_gradients.py.
    "model.sampler.num=1024",
    "model.sampler.pos_fraction=1.0",
]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def alone(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    train(small(*SHARED), scenes, run=run, hardware=CPU)
    return run


@pytest.mark.parametrize(
    ("launcher", "options"),
    [([], ["--devices", "2"]), (TORCHRUN, [])],
    ids=["lightning", "torchrun"],
)
def test_two_processes_train_as_one(
    launcher: list[str], options: list[str], alone: Path, scenes: Path, tmp_path: Path
) -> None:
    # Batches of two: when one process gets an image without objects, it has no objects at all.
    two = tmp_path / "two"
    settings = [part for s in [*SMALL, *SHARED] for part in ("--set", s)]
    command = [sys.executable, *launcher, "-m", "motedet", "train", RECIPE, "--data", str(scenes)]
    done = subprocess.run(
        [*command, "-o", str(two), "--accelerator", "cpu", *options, *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert largest_difference(alone, two) <= 1e-5
    assert (two / "report.html").exists()
