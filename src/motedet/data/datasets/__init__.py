"""Data sets: where their files are and what their classes are called, one per file."""

from typing import Annotated

from pydantic import Field

from motedet.data.datasets.aitod import AITOD, AITOD_CLASSES
from motedet.data.datasets.coco import COCO_CLASSES, COCODataset
from motedet.data.datasets.folder import Folder

__all__ = ["AITOD", "AITOD_CLASSES", "COCO_CLASSES", "AnyDataset", "COCODataset", "Folder"]

AnyDataset = Annotated[AITOD | COCODataset | Folder, Field(discriminator="kind")]
