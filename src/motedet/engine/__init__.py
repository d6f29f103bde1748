"""Training, evaluation and prediction: the verbs of the library."""

from motedet.engine.evaluate import evaluate
from motedet.engine.fit import Hardware, TrainResult, train
from motedet.engine.predict import predict
from motedet.engine.weights import LoadedDetector, load

__all__ = [
    "Hardware",
    "LoadedDetector",
    "TrainResult",
    "evaluate",
    "load",
    "predict",
    "train",
]
