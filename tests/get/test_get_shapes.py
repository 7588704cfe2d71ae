"""The rule that names shapes, on both sides of each of its thresholds."""

import numpy as np
import pytest

from basisvae_scvi.get import SHAPE_LABELS, shape_label

Z = np.linspace(0, 1, 201)


def bump(center, width=0.08):
    return np.exp(-0.5 * ((Z - center) / width) ** 2)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (Z, "up"),
        (1 - Z, "down"),
        (bump(0.2), "transient early"),
        (bump(0.5), "transient mid"),
        (bump(0.8), "transient late"),
        (bump(0.25) + bump(0.75), "multi-peak"),
        (1 - bump(0.5), "multi-peak"),
        (np.ones_like(Z), "flat"),
        (np.zeros_like(Z), "flat"),
        (-Z, "down"),
    ],
)
def test_plain_cases(values, label):
    assert shape_label(values) == label
    assert label in SHAPE_LABELS
    assert shape_label(1e-3 * values) == label


@pytest.mark.parametrize(("change", "label"), [(0.39, "flat"), (0.41, "up")])
def test_flat_is_a_range_of_up_to_two_fifths_of_the_mean(change, label):
    assert shape_label(1.0 + change * (Z - 0.5)) == label


@pytest.mark.parametrize(("height", "label"), [(0.15, "transient early"), (0.25, "multi-peak")])
def test_a_second_peak_counts_from_a_fifth_of_the_range(height, label):
    assert shape_label(bump(0.2) + height * bump(0.7)) == label


@pytest.mark.parametrize(("drop", "label"), [(0.15, "up"), (0.25, "transient late")])
def test_a_fall_at_the_end_counts_from_a_fifth_of_the_range(drop, label):
    values = np.where(Z < 0.8, Z / 0.8, 1 - drop * (Z - 0.8) / 0.2)
    assert shape_label(values) == label
    assert shape_label(values[::-1]) == label.replace("up", "down").replace("late", "early")


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1.0, np.nan]])
def test_what_is_no_course_is_refused(values):
    with pytest.raises(ValueError, match="finite array"):
        shape_label(np.array(values))
