import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fake_data import write_coco
from motedet.cli.scale_match import scale_match
from motedet.data.check import check_dataset
from motedet.data.synthetic import SceneSpec, write_scenes
from motedet.errors import DataError

app = typer.Typer()
app.command()(scale_match)


def run(*words: object) -> str:
    """What the command prints; its errors come through."""
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(name="scenes", scope="module")
def _scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(size=(96, 96)), train=4, val=2, seed=5)
    return folder


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("target"))


@pytest.mark.parametrize("options", [[], ["--monotone", "--published"]], ids=["random", "monotone"])
def test_a_folder_a_picture_and_a_summary(
    scenes: Path, target: Path, tmp_path: Path, options: list[str]
) -> None:
    out = tmp_path / "out"
    printed = run(scenes, target, "-o", out, "--scale-range", 0.2, 1.5, *options)
    assert "objects, median" in printed
    assert "largest gap to the target" in printed
    assert "wrote 6 images, train.json, val.json, sizes.png and scale_match.json" in printed
    assert check_dataset(out).fatal == ()
    with Image.open(out / "sizes.png") as picture:
        assert min(picture.size) > 100
    written = json.loads((out / "scale_match.json").read_text())
    assert written["parameters"]["scale_range"] == [0.2, 1.5]
    assert written["parameters"]["plus_one"] is bool(options)
    assert written["parameters"]["monotone"] is bool(options)


def test_existing_results_stay_unless_forced(scenes: Path, target: Path, tmp_path: Path) -> None:
    words = (scenes, target, "-o", tmp_path / "out")
    run(*words)
    with pytest.raises(DataError, match="--force"):
        run(*words)
    run(*words, "--force", "--seed", 3)
    assert (
        json.loads((tmp_path / "out" / "scale_match.json").read_text())["parameters"]["seed"] == 3
    )


def test_bad_options_are_named(scenes: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--scale-range must be 0 <= low < high; got \(1.0, 0.1\)"):
        run(scenes, target, "-o", tmp_path / "out", "--scale-range", 1, 0.1)
    with pytest.raises(DataError, match="--default-scale must be positive; got 0"):
        run(scenes, target, "-o", tmp_path / "out", "--default-scale", 0)
    with pytest.raises(DataError, match="no annotations found"):
        run(scenes, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
