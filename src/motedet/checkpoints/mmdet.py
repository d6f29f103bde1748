"""Published checkpoints of mmdetection and its forks, read without running their code."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from motedet.checkpoints.gaussian_assignment import rename_gaussian_assignment
from motedet.checkpoints.tinydet import rename_tinydet
from motedet.errors import CheckpointError

# What training leaves beside the weights; none of it is part of the detector.
DROPPED: Final = ("data_preprocessor.", "ema_")

MAGIC: Final = (b"PK\x03\x04", b"\x80\x02")  # torch.save today, and before 1.6

RENAMES: Final = (  # in this order
    (re.compile(r"^module\."), ""),  # data-parallel training
    # FCOS before 2.5
    (re.compile(r"^(bbox_head|rpn_head)\.fcos_(cls|reg|centerness)\."), r"\1.conv_\2."),
    # up to 0.5.3: plain convolutions
    (
        re.compile(r"^(bbox_head\.(?:cls|reg)_convs\.\d+|neck\.\w+_convs\.\d+)\.(weight|bias)$"),
        r"\1.conv.\2",
    ),
    # a proposal network that was trained alone (3.x)
    (re.compile(r"^bbox_head\.(rpn_(?:conv|cls|reg))\."), r"rpn_head.\1."),
)

# The second stage before 2.0, one or a cascade; since then it is under `roi_head.`
OLD_SECOND_STAGE: Final = re.compile(r"^bbox_head\.(?:\d+\.)?(shared_fcs\.\d+|fc_cls|fc_reg)\.")


def read_mmdet(path: Path | str) -> dict[str, Tensor]:
    """The weights of a `.pth` file under the names that our detectors have.

    Only tensors are read (`weights_only=True`). Optimiser states, averaged copies and other
    leftovers of training are dropped, names of older versions are brought up to date.

    Args:
        path: a file with a `state_dict`, or a bare state dict.

    Raises:
        CheckpointError: if the file is missing, holds more than tensors, or is something else.
    """
    path = Path(path)
    content = _load(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path} holds no state dict, but a {type(content).__name__}.")
    tensors = {str(k): v for k, v in state.items() if not str(k).startswith(DROPPED)}
    foreign = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if foreign:
        raise CheckpointError(
            f"{path} holds no state dict: its entry {foreign[0]!r} is a "
            f"{type(tensors[foreign[0]]).__name__}, not a tensor."
        )
    return rename_tinydet(rename_gaussian_assignment(rename_mmdet(tensors)))


def rename_mmdet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under current names.

    Args:
        state: tensors by name, as any mmdetection version wrote them.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in RENAMES:
            name = pattern.sub(replacement, name)  # noqa: PLW2901 - one rename after another
        renamed[name] = value
    heads = {name.split(".")[0] for name in renamed}
    proposals = any(name.startswith("rpn_head.rpn_") for name in renamed)
    if "rpn_head" in heads and not (heads & {"bbox_head", "roi_head"} or proposals):
        # A dense detector that was trained as the first stage of a two-stage one.
        renamed = {re.sub(r"^rpn_head\.", "bbox_head.", n): v for n, v in renamed.items()}
    return _second_stage_of_today(renamed)


def _second_stage_of_today(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with a second stage from before 2.0 as it would be written now.

    It had no prefix, and the background was class 0, with deltas of its own; now it is the last
    class and has none.
    """
    current: dict[str, Tensor] = {}
    for name, value in state.items():
        found = OLD_SECOND_STAGE.match(name)
        if found is None:
            current[name] = value
            continue
        if found[1] == "fc_cls":
            value = value.roll(-1, dims=0)  # noqa: PLW2901 - [K + 1, ...]
        elif found[1] == "fc_reg" and value.shape[0] > 4:
            value = value[4:]  # noqa: PLW2901 - [4 * (K + 1), ...], or [4, ...] for all classes
        current[f"roi_head.{name}"] = value
    return current


def _load(path: Path) -> object:
    """The unpickled content, made of tensors and plain containers only."""
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint file {path}.")
    with path.open("rb") as file:
        if not file.read(4).startswith(MAGIC):
            raise CheckpointError(f"{path} is not a PyTorch checkpoint.")
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        name = f" ({found[1]})" if found else ""
        raise CheckpointError(
            f"{path} holds more than tensors{name}, or is damaged; reading it could run foreign "
            "code. Where it was trained, save only its `state_dict` and import that file."
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint ({str(error).splitlines()[0]})."
        ) from error
    return content
