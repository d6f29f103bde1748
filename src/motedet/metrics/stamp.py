"""What made some numbers: protocol, caps, and a fingerprint of the annotations."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from motedet.metrics.tables import GroundTruthTable
from motedet.release import own_version

DECIMALS: Final = 6  # of a pixel; a box that went through xyxy differs further behind
RECORD: Final = np.dtype(
    [
        ("image", "<i8"),
        ("category", "<i8"),
        ("numbers", "<f8", (7,)),  # box, area, size, visibility
        ("flags", "u1", (4,)),  # crowd, ignore, uncertain, id 0
    ]
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where numbers come from; equal stamps and equal detections give equal numbers.

    Attributes:
        protocol: `kind` and all settings.
        caps: the caps on the number of detections, ascending.
        images: how many were scored, with and without objects.
        annotations: how many were read, ignored ones included.
        data_sha256: of images, classes and annotations in any order; annotation ids do not matter,
            except that one is 0.
        motedet: version.
    """

    protocol: dict[str, object]
    caps: tuple[int, ...]
    images: int
    annotations: int
    data_sha256: str
    motedet: str

    @classmethod
    def of(
        cls, protocol: dict[str, object], truth: GroundTruthTable, *, caps: Sequence[int]
    ) -> "Stamp":
        """The stamp of a protocol on some data.

        Args:
            protocol: its fields by name.
            truth: as read from the file.
            caps: on the number of detections.
        """
        return cls(
            protocol=json.loads(json.dumps(protocol)),  # tuples become lists
            caps=tuple(sorted(set(caps))),
            images=len(truth.image_ids),
            annotations=len(truth.areas),
            data_sha256=data_hash(truth),
            motedet=own_version(),
        )

    def __str__(self) -> str:
        """One line for people."""
        caps = ", ".join(map(str, self.caps))
        return (
            f"{self.protocol['kind']}, caps {caps}, {self.images} images, {self.annotations} "
            f"annotations, data {self.data_sha256[:12]}, motedet {self.motedet}"
        )

    def as_dict(self) -> dict[str, object]:
        """The stamp in JSON's types."""
        return {
            "protocol": self.protocol,
            "caps": list(self.caps),
            "images": self.images,
            "annotations": self.annotations,
            "data_sha256": self.data_sha256,
            "motedet": self.motedet,
        }


def data_hash(truth: GroundTruthTable) -> str:
    """SHA-256 of images, classes and annotations, as hexadecimal; their order does not matter."""
    records = np.zeros(len(truth.areas), dtype=RECORD)  # [G]
    records["image"] = truth.image_ids[truth.image]
    records["category"] = truth.category_ids[truth.category]
    columns = [truth.boxes_xywh, truth.areas, truth.sizes, truth.visibility]
    records["numbers"] = np.column_stack(columns).round(DECIMALS) + 0.0  # no negative zeros
    flags = [truth.crowd, truth.ignore, truth.uncertain, truth.zero_id]
    records["flags"] = np.column_stack(flags)
    classes = dict(zip(truth.category_ids.tolist(), truth.classes, strict=True))
    digest = hashlib.sha256(json.dumps(classes).encode())
    digest.update(truth.image_ids.astype("<i8").tobytes())
    digest.update(np.sort(records.view(f"V{RECORD.itemsize}")).tobytes())
    return digest.hexdigest()
