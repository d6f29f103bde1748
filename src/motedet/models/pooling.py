"""How the features of a region are read, told apart by `kind`; without one it is RoIAlign."""

from typing import Annotated

from pydantic import Discriminator, Tag

from motedet.models.kinds import kind_or
from motedet.models.ps_roi_align import PSRoIAlign
from motedet.models.rois import RoIAlign

AnyPool = Annotated[
    Annotated[RoIAlign, Tag("roi_align")] | Annotated[PSRoIAlign, Tag("ps_roi_align")],
    Discriminator(kind_or("roi_align")),
]
