"""Scores of detections against ground truth: COCO, AI-TOD and optimal LRP."""

from typing import Annotated

from pydantic import Field

from motedet.metrics.aitod import AITODProtocol
from motedet.metrics.coco import COCOProtocol
from motedet.metrics.results import coco_results, read_ground_truth, read_results, to_results
from motedet.metrics.scores import Scores

AnyProtocol = Annotated[COCOProtocol | AITODProtocol, Field(discriminator="kind")]

__all__ = [
    "AITODProtocol",
    "AnyProtocol",
    "COCOProtocol",
    "Scores",
    "coco_results",
    "read_ground_truth",
    "read_results",
    "to_results",
]
