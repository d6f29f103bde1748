"""Images and boxes: reading, checking, transforming, batching, and making them up."""

from motedet.data.annotations import prepare_catalog
from motedet.data.check import image_problems
from motedet.data.class_balance import balanced_listing
from motedet.data.dataset import DetectionDataset, decoded_bytes
from motedet.data.datasets import (
    AITOD,
    DOTA,
    AnyDataset,
    COCODataset,
    Folder,
    TinyPerson,
    VisDrone,
)
from motedet.data.formats import coco_dict, read_annotations
from motedet.data.images import IMAGE_SUFFIXES, read_image, read_image_size
from motedet.data.records import Catalog, ImageRecord, Problem, count_kinds, refuse_fatal
from motedet.data.sample import Batch, Sample, collate
from motedet.data.transforms import AnyTransform, Compose
from motedet.data.windowed import Tiles, TrainTiles, cut_windows

__all__ = [
    "AITOD",
    "DOTA",
    "IMAGE_SUFFIXES",
    "AnyDataset",
    "AnyTransform",
    "Batch",
    "COCODataset",
    "Catalog",
    "Compose",
    "DetectionDataset",
    "Folder",
    "ImageRecord",
    "Problem",
    "Sample",
    "Tiles",
    "TinyPerson",
    "TrainTiles",
    "VisDrone",
    "balanced_listing",
    "coco_dict",
    "collate",
    "count_kinds",
    "cut_windows",
    "decoded_bytes",
    "image_problems",
    "prepare_catalog",
    "read_annotations",
    "read_image",
    "read_image_size",
    "refuse_fatal",
]
