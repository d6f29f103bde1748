import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fake_data import CLASSES, write_coco, write_image, write_json, write_voc, write_yolo
from motedet.data.check import check_dataset
from motedet.data.datasets import Folder
from motedet.data.formats import Split
from motedet.data.scale_match import read_histogram
from motedet.data.scale_match.histogram import SizeBins
from motedet.data.scale_match.offline import Matching, match_folder
from motedet.errors import DataError

Json = dict[str, object]
SPLITS: tuple[Split, ...] = ("train", "val")


def write_set(root: Path, *, mean: float, images: int = 12, seed: int = 0) -> Path:
    """A COCO folder with log-normal square objects, four in each 64 x 48 px image."""
    rng = np.random.default_rng(seed)
    for split in SPLITS:
        entries, annotations = list[Json](), list[Json]()
        for number in range(1, images + 1):
            name = f"{split}_{number}.png"
            write_image(root / "images" / name)
            entries.append({"id": number, "file_name": name, "width": 64, "height": 48})
            for side in rng.lognormal(np.log(mean), 0.25, 4).tolist():
                row: Json = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                annotations.append(row | {"bbox": [4, 4, side, side], "area": side * side})
        categories = [{"id": 1, "name": "car"}]
        content = {"images": entries, "annotations": annotations, "categories": categories}
        write_json(root / "annotations" / f"{split}.json", content)
    return root


@pytest.fixture(name="source", scope="module")
def _source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("source"), mean=16)


@pytest.fixture(name="target", scope="module")
def _target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("target"), mean=5, seed=1)


@pytest.mark.parametrize("monotone", [False, True], ids=["random", "monotone"])
def test_sizes_become_those_of_the_target(
    source: Path, target: Path, tmp_path: Path, *, monotone: bool
) -> None:
    out = tmp_path / "out"
    matched = match_folder(source, target, out, Matching(monotone=monotone))
    assert matched.source.median == pytest.approx(16, rel=0.2)
    assert matched.matched.median == pytest.approx(matched.target.median, rel=0.2)
    assert matched.num_images == 24
    assert check_dataset(out).fatal == ()
    for split in SPLITS:
        back = Folder().catalog(out, split)
        assert back.source == matched.splits[split].source
        for one, other in zip(back.records, matched.splits[split].records, strict=True):
            assert one.path == other.path
            np.testing.assert_allclose(one.boxes, other.boxes)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_summary_says_what_was_done(source: Path, target: Path, tmp_path: Path) -> None:
    matched = match_folder(source, target, tmp_path / "out", Matching(seed=3))
    written = json.loads((tmp_path / "out" / "scale_match.json").read_text())
    assert written["parameters"]["seed"] == 3
    expected = matched.target.median / matched.source.median  # the training halves are alike
    assert written["parameters"]["default_scale"] == pytest.approx(expected, rel=0.1)
    assert written["median_size"]["matched"] == matched.matched.median
    assert written["largest_gap"]["after"] < written["largest_gap"]["before"]
    assert written["objects"] == {"source": 96, "target": 48, "matched": 96}
    assert sum(written["outcomes"].values()) == written["images"] == 24
    assert 0 <= written["share_out_of_range"] <= 1
    stored = read_histogram(tmp_path / "out" / "scale_match.json", SizeBins())
    counted = read_histogram(target / "annotations" / "train.json", SizeBins())
    assert stored.edges.tolist() == counted.edges.tolist()


def test_same_seed_same_folder(source: Path, target: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        match_folder(source, target, tmp_path / name, Matching())
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_factors_out_of_range_are_counted(source: Path, target: Path, tmp_path: Path) -> None:
    matching = Matching(scale_range=(0.5, 1.0))
    matched = match_folder(source, target, tmp_path / "out", matching)
    assert matched.outcomes["out of range"] > 12
    limited = matched.matched.sizes.min() / matched.source.sizes.min()
    assert limited == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("write", [write_yolo, write_voc], ids=["yolo", "voc"])
def test_other_formats(target: Path, tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path / "source")
    matched = match_folder(source, target, tmp_path / "out", Matching(scale_range=(0.5, 2.0)))
    back = Folder().catalog(tmp_path / "out", "train")
    assert set(back.classes) <= {*CLASSES}
    assert list(matched.splits) == ["train", "val"]


def test_files_instead_of_folders(source: Path, target: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone"  # without images, which only a source needs
    lone.mkdir()
    (lone / "sizes.json").write_bytes((target / "annotations" / "val.json").read_bytes())
    files = (source / "annotations" / "val.json", lone / "sizes.json")
    matched = match_folder(*files, tmp_path / "out", Matching())
    assert list(matched.splits) == ["val"]
    custom = source / "annotations" / "custom.json"
    custom.write_bytes(files[0].read_bytes())
    matched = match_folder(custom, files[1], tmp_path / "other", Matching())
    custom.unlink()
    assert list(matched.splits) == ["train"]


def test_existing_folders_stay_unless_they_are_ours(
    source: Path, target: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    match_folder(source, target, out, Matching())  # an empty folder is free
    with pytest.raises(DataError, match=r"out: exists already; .*--force"):
        match_folder(source, target, out, Matching())
    (out / "images" / "old.png").write_text("old")
    match_folder(source, target, out, Matching(), force=True)
    assert not (out / "images" / "old.png").exists()
    (out / "scale_match.json").unlink()
    with pytest.raises(DataError, match="exists and is no scale-matched data set"):
        match_folder(source, target, out, Matching(), force=True)
    for place in (source, source.parent):
        with pytest.raises(DataError, match="holds the data set to match"):
            match_folder(source, target, place, Matching(), force=True)


def test_nothing_is_written_for_bad_data(target: Path, tmp_path: Path) -> None:
    source = write_coco(tmp_path / "source")
    out = tmp_path / "out"
    (source / "images" / "val_b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"val_b.png, image 11: unreadable image"):
        match_folder(source, target, out, Matching())
    with pytest.raises(DataError, match="no annotations found"):
        match_folder(tmp_path / "nowhere", target, out, Matching())
    with pytest.raises(DataError, match="no annotations found"):
        match_folder(target, tmp_path / "nowhere", out, Matching())
    assert not out.exists()


def test_empty_data_sets(target: Path, tmp_path: Path) -> None:
    empty = write_coco(tmp_path / "empty")
    for split in SPLITS:
        path = empty / "annotations" / f"{split}.json"
        write_json(path, json.loads(path.read_text()) | {"annotations": []})
    with pytest.raises(DataError, match="no objects"):
        match_folder(empty, target, tmp_path / "out", Matching())
    with pytest.raises(DataError, match="empty: no objects whose sizes could be matched"):
        match_folder(target, empty, tmp_path / "out", Matching())
    with pytest.raises(DataError, match=r"train.json: no usable boxes"):
        match_folder(target, empty / "annotations" / "train.json", tmp_path / "out", Matching())


def test_a_place_that_cannot_be_written_is_named(
    source: Path, target: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(DataError, match="the data set cannot be written there"):
        match_folder(source, target, tmp_path / "file" / "out", Matching())


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="max_tries must be at least 1; got 0"):
        Matching(max_tries=0)
    with pytest.raises(ValueError, match="scale_range must be"):
        Matching(scale_range=(1.0, 0.5))
