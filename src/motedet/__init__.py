"""motedet: detection of tiny objects in PyTorch, built around label assignment.

The verbs `train`, `evaluate`, `load` and `predict` are imported when first used, so that
`import motedet` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from motedet.errors import MotedetError

if TYPE_CHECKING:
    from motedet.engine.evaluate import evaluate
    from motedet.engine.fit import Hardware, train
    from motedet.engine.predict import predict
    from motedet.engine.weights import load
    from motedet.recipes import load_recipe, recipe_names
    from motedet.structures import Detections, Targets

__version__ = "0.1.0"

_HOME = {
    "Detections": "motedet.structures",
    "Hardware": "motedet.engine",
    "Targets": "motedet.structures",
    "evaluate": "motedet.engine",
    "load": "motedet.engine",
    "load_recipe": "motedet.recipes",
    "predict": "motedet.engine",
    "recipe_names": "motedet.recipes",
    "train": "motedet.engine",
}

__all__ = [
    "Detections",
    "Hardware",
    "MotedetError",
    "Targets",
    "__version__",
    "evaluate",
    "load",
    "load_recipe",
    "predict",
    "recipe_names",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name from where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'motedet' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
