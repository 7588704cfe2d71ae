"""A word for the shape of a course."""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks

SHAPE_LABELS = (
    "up",
    "down",
    "transient early",
    "transient mid",
    "transient late",
    "multi-peak",
    "flat",
)

# Shares: of the course's mean size for the first, of its range for the second.
_FLAT_RANGE = 0.4
_PROMINENCE = 0.2


def shape_label(values: np.ndarray) -> str:
    """Name the shape of a course over an even grid.

    With the range R = max − min, the first rule that applies decides:

    1. *flat*: R is at most 0.4 times the mean of the absolute values, about 20 % to either side
       of it;
    2. *multi-peak*: two or more maxima that stand out by at least 0.2 R, i.e. between each of
       them and any higher one the course falls by that much. Ends count as maxima, so that a
       course that is high at both ends has two;
    3. *up* or *down*: the last, or the first, value is within 0.2 R of the maximum;
    4. *transient early*, *mid*, *late*: the maximum lies in the first, second or last third of
       the grid.

    Parameters
    ----------
    values
        The course, shape (G,), at least two points.

    Returns
    -------
    One of ``SHAPE_LABELS``.

    Raises
    ------
    ValueError
        If ``values`` is not a finite one-dimensional array of two or more points.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.linspace(-3, 3, 100)
    >>> shape_label(np.exp(z)), shape_label(np.exp(-0.5 * z**2))
    ('up', 'transient mid')
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError("values must be a finite array of one dimension, two or more points.")
    low, high = values.min(), values.max()
    if high - low <= _FLAT_RANGE * np.abs(values).mean():
        return "flat"
    height = (values - low) / (high - low)
    # Values below the range on either side let find_peaks see maxima at the ends.
    peaks, _ = find_peaks(np.concatenate([[-1.0], height, [-1.0]]), prominence=_PROMINENCE)
    if len(peaks) > 1:
        return "multi-peak"
    if height[-1] >= 1.0 - _PROMINENCE:
        return "up"
    if height[0] >= 1.0 - _PROMINENCE:
        return "down"
    third = int(3 * height.argmax() / len(height))
    return ("transient early", "transient mid", "transient late")[third]
