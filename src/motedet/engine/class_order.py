"""The classes of a catalog in the order of a model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from motedet.data import Catalog
from motedet.errors import DataError


def order_classes(catalog: Catalog, classes: Sequence[str]) -> Catalog:
    """The same catalog with its labels in the order of `classes`.

    Raises:
        DataError: if the catalog has other classes.
    """
    if tuple(classes) == catalog.classes:
        return catalog
    unknown = sorted(set(catalog.classes) - set(classes))
    if unknown or len(classes) != len(catalog.classes):
        raise DataError(
            f"{catalog.source}: its classes are {list(catalog.classes)}, but the model knows "
            f"{list(classes)}; evaluate on data with the same classes."
        )
    new_label = np.array([classes.index(name) for name in catalog.classes], dtype=np.int64)  # [K]
    category_ids = tuple(catalog.category_ids[catalog.classes.index(name)] for name in classes)
    records = tuple(replace(r, labels=new_label[r.labels]) for r in catalog.records)
    return replace(catalog, classes=tuple(classes), category_ids=category_ids, records=records)
