"""Tables from an annotated AnnData; no model is needed."""

from ._annotation import Annotation
from ._bands import credible_band
from ._clusters import clusters
from ._genes import genes
from ._shapes import SHAPE_LABELS, shape_label
from ._trends import trends

__all__ = [
    "genes",
    "clusters",
    "trends",
    "SHAPE_LABELS",
    "shape_label",
    "Annotation",
    "credible_band",
]
