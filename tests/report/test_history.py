from pathlib import Path

import numpy as np

from motedet.report.history import History, short_name

LOG = """epoch,step,train/loss_step,train/loss_cls,lr-AdamW,val/AP,val/AP_vt,val/loss
0,0,2.0,1.5,,,,
0,0,,,0.001,,,
0,10,1.0,nan,,,,
0,10,,,0.002,,,
0,11,,,,0.25,-1,3.0
"""


def test_series_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(LOG)
    history = History.read(path)
    assert list(history.losses()) == ["loss", "loss_cls", "val loss"]
    assert list(history.learning_rates()) == ["lr-AdamW"]
    assert list(history.scores()) == ["AP", "AP_vt"]
    np.testing.assert_array_equal(history.series["loss"].step, [0, 10])
    np.testing.assert_array_equal(history.series["loss"].value, [2, 1])
    assert np.isnan(history.series["loss_cls"].value[1])


def test_a_step_logged_again_after_resuming_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n0,9\n1,8\n2,7\n1,5\n2,4\n")
    series = History.read(path).series["loss"]
    np.testing.assert_array_equal(series.step, [0, 1, 2])
    np.testing.assert_array_equal(series.value, [9, 5, 4])


def test_no_file_and_an_empty_file_are_empty_histories(tmp_path: Path) -> None:
    assert not History.read(None).series
    assert not History.read(tmp_path / "none.csv").series
    (tmp_path / "empty.csv").write_text("")
    assert not History.read(tmp_path / "empty.csv").series


def test_rows_without_a_step_are_counted(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("epoch,AP\n0,0.1\n1,0.2\n")
    np.testing.assert_array_equal(History.read(tmp_path / "m.csv").series["AP"].step, [0, 1])


def test_short_names() -> None:
    assert short_name("train/loss_cls_step") == "loss_cls"
    assert short_name("val_AP") == "AP"
    assert short_name("val/loss") == "val loss"
    assert short_name("lr-SGD/pg1") == "lr-SGD/pg1"
