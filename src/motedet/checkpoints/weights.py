"""Our weights files: safetensors, with the resolved recipe and the class names inside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from motedet.errors import CheckpointError
from motedet.files import replacing
from motedet.release import own_version

SHOWN: Final = 10  # names listed per problem
_RECIPE: Final = "motedet.recipe"
_CLASSES: Final = "motedet.classes"
_VERSION: Final = "motedet.version"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """What one of our files holds.

    Attributes:
        state_dict: tensors by name, on the CPU.
        recipe_json: the resolved recipe.
        classes: class names in label order.
        version: of the motedet that wrote it.
        extra: whatever else the writer noted.
    """

    state_dict: dict[str, Tensor]
    recipe_json: str
    classes: tuple[str, ...]
    version: str
    extra: dict[str, str]


def save_weights(
    path: Path | str,
    state_dict: Mapping[str, Tensor],
    *,
    recipe_json: str,
    classes: Sequence[str],
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a weights file; a crash leaves the old file or the new one, never half of one.

    Args:
        path: usually ends in `.safetensors`; an existing file is replaced.
        state_dict: tensors by name.
        recipe_json: the resolved recipe.
        classes: class names in label order.
        extra: more notes, as text.
    """
    path = Path(path)
    metadata = dict(extra or {}) | {
        _RECIPE: recipe_json,
        _CLASSES: json.dumps(list(classes)),
        _VERSION: own_version(),
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in state_dict.items()}
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata=metadata)


def read_weights(path: Path | str) -> WeightsFile:
    """Read a weights file of ours.

    Raises:
        CheckpointError: if it is missing, damaged, or not written by motedet.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
            state_dict: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}). Foreign .pth files are read by "
            "`motedet import-checkpoint`."
        ) from error
    if _RECIPE not in metadata or _CLASSES not in metadata:
        raise CheckpointError(
            f"{path} holds no recipe and class names: motedet did not write it "
            f"(its notes: {sorted(metadata) or 'none'})."
        )
    return WeightsFile(
        state_dict=state_dict,
        recipe_json=metadata.pop(_RECIPE),
        classes=tuple(json.loads(metadata.pop(_CLASSES))),
        version=metadata.pop(_VERSION, "unknown"),
        extra=metadata,
    )


def load_state(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copy a state dict into a module, all of it or nothing.

    Batch-norm's `num_batches_tracked` may be missing: it counts steps and changes no output.

    Args:
        module: takes the values.
        state: tensors by name.
        source: what the message calls the origin, usually a path.

    Raises:
        CheckpointError: listing missing, unexpected and misshaped names.
    """
    own = module.state_dict()
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in own]
    misshaped = [
        f"{n} {list(state[n].shape)}, not {list(own[n].shape)}"
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    problems = [
        _listed(names, word)
        for names, word in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (misshaped, "of another shape"),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not fit {type(module).__name__} ({len(own)} entries): "
            f"{'; '.join(problems)}. Check the recipe and the number of classes."
        )
    module.load_state_dict(dict(state), strict=False)  # only step counters can be absent


def _listed(names: Sequence[str], word: str) -> str:
    """`3 missing (a, b, c)`, shortened after ten."""
    dots = ", ..." if len(names) > SHOWN else ""
    return f"{len(names)} {word} ({', '.join(names[:SHOWN])}{dots})"
