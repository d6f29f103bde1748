"""Our weights files: what goes in comes out, and what does not fit is named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from motedet.checkpoints import load_state, read_weights, save_weights
from motedet.errors import CheckpointError


def _module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(
        memory_format=torch.channels_last
    )


def test_round_trip(tmp_path: Path) -> None:
    module = _module()
    path = tmp_path / "best.safetensors"
    save_weights(
        path,
        module.state_dict(),
        recipe_json='{"name": "x"}',
        classes=("ship", "père"),
        extra={"epoch": "3"},
    )
    file = read_weights(path)
    assert file.recipe_json == '{"name": "x"}'
    assert file.classes == ("ship", "père")
    assert file.extra["epoch"] == "3"
    assert file.version
    for name, value in module.state_dict().items():
        assert torch.equal(file.state_dict[name], value)
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]

    other = _module()
    load_state(other, file.state_dict, source=str(path))
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_weights(path, _module().state_dict(), recipe_json="{}", classes=["a"])
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_weights(path, _module().state_dict(), recipe_json=3, classes=["a"])  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights file .*none\.safetensors"):
        read_weights(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        read_weights(damaged)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match="holds no recipe and class names"):
        read_weights(foreign)


def test_names_that_do_not_fit_are_listed() -> None:
    module = _module()
    state = module.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    state["0.weight"] = torch.zeros(4, 2, 3, 3)
    state["9.weight"] = torch.zeros(1)
    del state["1.bias"]
    with pytest.raises(CheckpointError) as caught:
        load_state(module, state, source="x.pth")
    message = str(caught.value)
    assert message.startswith("x.pth does not fit Sequential")
    assert "1 missing (1.bias)" in message
    assert "1 unexpected (9.weight)" in message
    assert "1 of another shape (0.weight [4, 2, 3, 3], not [3, 2, 3, 3])" in message
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])  # nothing was loaded


def test_long_lists_are_cut() -> None:
    state = {f"n{i}": torch.zeros(1) for i in range(25)}
    with pytest.raises(CheckpointError, match=r"25 unexpected \(n0, .*, n9, \.\.\.\)") as caught:
        load_state(nn.Identity(), state, source="x")
    assert "n10" not in str(caught.value)


def test_step_counters_may_be_missing() -> None:
    module = _module()
    state = {n: v + 1 for n, v in module.state_dict().items() if "num_batches" not in n}
    load_state(module, state, source="old.pth")
    assert all(torch.equal(module.state_dict()[n], v) for n, v in state.items())
