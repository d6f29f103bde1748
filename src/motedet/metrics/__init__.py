"""Scores of detections against ground truth: COCO, AI-TOD, TinyPerson, VisDrone, own size bins."""

from typing import Annotated, Final

from pydantic import Field

from motedet.metrics.aitod import AITODProtocol
from motedet.metrics.bins import BinsProtocol
from motedet.metrics.coco import COCOProtocol
from motedet.metrics.miss_rate import MissRate
from motedet.metrics.results import coco_results, read_ground_truth, read_results, to_results
from motedet.metrics.scores import Scores
from motedet.metrics.stamp import Stamp
from motedet.metrics.tinyperson import TinyPersonProtocol
from motedet.metrics.visdrone import VisDroneProtocol

AnyProtocol = Annotated[
    COCOProtocol | AITODProtocol | TinyPersonProtocol | VisDroneProtocol | BinsProtocol,
    Field(discriminator="kind"),
]

PROTOCOLS: Final[dict[str, AnyProtocol]] = {
    "aitod": AITODProtocol(),
    "coco": COCOProtocol(),
    "aitod_rfla": AITODProtocol(max_dets=(100, 300, 1500), with_lrp=False),
    "tinyperson": TinyPersonProtocol(),
    "tinyperson_old": TinyPersonProtocol(max_det=200),
    "tinyperson_script": TinyPersonProtocol(max_det=200, iod_threshold="2t/(1+t)"),
    "visdrone": VisDroneProtocol(),
}
"""The published settings by name."""

__all__ = [
    "PROTOCOLS",
    "AITODProtocol",
    "AnyProtocol",
    "BinsProtocol",
    "COCOProtocol",
    "MissRate",
    "Scores",
    "Stamp",
    "TinyPersonProtocol",
    "VisDroneProtocol",
    "coco_results",
    "read_ground_truth",
    "read_results",
    "to_results",
]
