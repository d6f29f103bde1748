import pytest
import torch

from motedet.engine.processes import choose_device, is_main_process, processes_here
from motedet.errors import MotedetError


def test_alone_is_the_main_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert is_main_process()
    assert processes_here(2) == (2, 1)


def test_torchrun_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "5", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert not is_main_process()
    assert processes_here(1) == (4, 2)


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(MotedetError, match="no CUDA GPU"):
        choose_device("cuda")
    with pytest.raises(MotedetError, match="found 'tpu'"):
        choose_device("tpu")
