"""Published names of Gaussian Assignment's detectors and of their backbones, brought to ours.

The detectors are those of zf020114/GaussianAssignment. DarkNet-53 also comes alone or in detectors
of mmdetection (YOLOv3), and MiT also alone, as mmsegmentation writes it. Ours are made of timm's
modules, whose names differ, and what lies between backbone and head belongs to the neck.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from torch import Tensor

BODY: Final = r"^(backbone\.|)"  # a backbone alone has no prefix

# One name that these find gives away what the whole state dict is of.
DARKNET: Final = re.compile(BODY + r"(?:layer\d\.\d+\.body\.0|conv_res_block\d\.conv)\.conv\.")
MIT: Final = re.compile(BODY + r"layers\.\d\.1\.\d+\.ffn\.layers\.4\.weight$")
NECK: Final = re.compile(r"^bbox_head\.(?:deconv_layers\.\d\.0|fusion_conv\.conv)\.weight$")

DARKNET_RENAMES: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(BODY + r"(?:stem|conv1)\.(?=conv|bn)"), lambda m: f"{m[1]}stem_conv1."),
    (
        re.compile(BODY + r"(?:layer(?=\d\.0)|conv_res_block)(\d)\.(?:0|conv)\.(?=conv|bn)"),
        lambda m: f"{m[1]}stages_{int(m[2]) - 1}.conv_down.",
    ),
    (
        re.compile(BODY + r"layer(\d)\.(\d+)\.body\.(\d)\."),
        lambda m: f"{m[1]}stages_{int(m[2]) - 1}.blocks.{int(m[3]) - 1}.conv{int(m[4]) + 1}.",
    ),
    (
        re.compile(BODY + r"conv_res_block(\d)\.res(\d+)\.conv(\d)\."),
        lambda m: f"{m[1]}stages_{int(m[2]) - 1}.blocks.{m[3]}.conv{m[4]}.",
    ),
)

MIT_RENAMES: Final = (  # in this order
    (re.compile(BODY + r"layers\.0\.0\."), r"\1patch_embed."),
    (re.compile(BODY + r"layers\.(\d)\.0\."), r"\1stages_\2.downsample."),
    (re.compile(BODY + r"layers\.(\d)\.1\.(\d+)\."), r"\1stages_\2.blocks.\3."),
    (re.compile(BODY + r"layers\.(\d)\.2\."), r"\1stages_\2.norm."),
    (re.compile(r"\.projection\."), ".proj."),
    (re.compile(r"\.attn\.attn\.out_proj\."), ".attn.proj."),
    (re.compile(r"\.ffn\.layers\.0\."), ".mlp.fc1."),
    (re.compile(r"\.ffn\.layers\.1\."), ".mlp.dwconv."),
    (re.compile(r"\.ffn\.layers\.4\."), ".mlp.fc2."),
)

NECK_LAYERS: Final = re.compile(
    r"^bbox_head\.(?=(?:deconv_layers|shortcut_layers|convs|fusion_conv)\.)"
)

# Three of the heads inherit predictors from a base class, and predict by `hm` and `wh`.
UNUSED: Final = re.compile(r"^bbox_head\.conv_(?:cls|reg)\.")


def rename_gaussian_assignment(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; a state dict of anything else comes back as it is.

    Args:
        state: tensors by name, of a detector, or of DarkNet-53 or MiT alone.
    """
    renamed = dict(state)
    if any(DARKNET.match(name) for name in state):
        renamed = {_darknet_name(name): value for name, value in renamed.items()}
    if any(MIT.match(name) for name in state):
        renamed = {
            name: value
            for published, whole in renamed.items()
            for name, value in _of_timm(_mit_name(published), whole)
        }
    if any(NECK.match(name) for name in state):
        unused = UNUSED if "bbox_head.hm.0.weight" in state else None
        renamed = {
            NECK_LAYERS.sub("neck.", name): value
            for name, value in renamed.items()
            if not (unused and unused.match(name))
        }
    return renamed


def _darknet_name(name: str) -> str:
    """What timm calls an entry of DarkNet-53."""
    for pattern, replacement in DARKNET_RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _mit_name(name: str) -> str:
    """What timm's PVT v2 calls an entry of MiT."""
    for pattern, replacement in MIT_RENAMES:
        name = pattern.sub(replacement, name)
    return name


def _of_timm(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One entry of MiT in timm's shapes; queries are projected apart from keys and values."""
    block, joint, kind = name.partition("attn.in_proj_")
    if joint:  # [3 * C, C] or [3 * C], in the order query, key, value
        channels = len(value) // 3
        yield f"{block}q.{kind}", value[:channels]
        yield f"{block}kv.{kind}", value[channels:]
    elif name.endswith((".mlp.fc1.weight", ".mlp.fc2.weight")):
        yield name, value.flatten(1)  # [O, C, 1, 1]: a convolution there, a linear layer here
    else:
        yield name, value
