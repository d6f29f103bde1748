"""Published TinyDet checkpoints and their backbones (hustvl/TinyDet), brought to our names.

Its detectors were written by mmdetection 1.x: `rename_mmdet` moves their second stage under
`roi_head.` and the background to the last class, and all other names are ours. The files are
`tinydet_S.pth`, `tinydet_M.pth` and `tinydet_L.pth`; those of the backbones, trained as classifiers
and without the extra blocks of the detectors, `mobilenetv3_d.pt` and `mobilenetv3_bc.pt`.
"""

import re
from collections.abc import Mapping
from typing import Final

from torch import Tensor

BODY: Final = re.compile(r"^(?:backbone\.)?(?=blocks\.\d+\.)")

# Stem, the block without expansion, and the first inverted block: together no other network's.
SIGNATURE: Final = ("blocks.0.0.weight", "blocks.1.conv2.weight", "blocks.2.conv1.weight")

CLASSIFIER: Final = re.compile(r"^(?:backbone\.)?(?:conv2|bn2|linear[34]|bn3)\.")


def rename_tinydet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names; a state dict of anything else comes back as it is.

    A backbone alone gets its place in a detector, and loses its classifier.

    Args:
        state: tensors by name, as `rename_mmdet` leaves them.
    """
    if not is_tinydet(state):
        return dict(state)
    return {
        BODY.sub("backbone.", name): value
        for name, value in state.items()
        if not CLASSIFIER.match(name)
    }


def is_tinydet(state: Mapping[str, object]) -> bool:
    """Whether the names are of a TinyDet detector, or of one of its backbones."""
    return any(all(f"{body}{n}" in state for n in SIGNATURE) for body in ("", "backbone."))
