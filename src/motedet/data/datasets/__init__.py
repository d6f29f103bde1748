"""Data sets: where their files are and what their classes are called, one per file."""

from typing import Annotated

from pydantic import Field

from motedet.data.datasets.aitod import AITOD, AITOD_CLASSES
from motedet.data.datasets.coco import COCO_CLASSES, COCODataset
from motedet.data.datasets.dota import DOTA, DOTA_CLASSES
from motedet.data.datasets.folder import Folder
from motedet.data.datasets.tinyperson import TinyPerson
from motedet.data.datasets.visdrone import VisDrone
from motedet.data.formats.visdrone import VISDRONE_CLASSES

__all__ = [
    "AITOD",
    "AITOD_CLASSES",
    "COCO_CLASSES",
    "DOTA",
    "DOTA_CLASSES",
    "VISDRONE_CLASSES",
    "AnyDataset",
    "COCODataset",
    "Folder",
    "TinyPerson",
    "VisDrone",
]

AnyDataset = Annotated[
    AITOD | COCODataset | DOTA | Folder | TinyPerson | VisDrone,
    Field(discriminator="kind"),
]
