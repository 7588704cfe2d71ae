"""How the structure is found: starting values, warm start, training plan."""

from ._interrupt import GracefulStop, survive_interrupt
from ._latent import start_latent
from ._plan import BasisVAETrainingPlan
from ._pooling import PooledCells, pool_cells
from ._profile import ProfileTable, working_model
from ._shapes import CurveSpace, ShapeSearch, shift_grid
from ._warm_start import (
    ENCODER_STEPS,
    AssignmentRefresher,
    fit_basis_functions,
    fit_encoder,
    pooled_start,
    start_shapes,
)

__all__ = [
    "ENCODER_STEPS",
    "AssignmentRefresher",
    "BasisVAETrainingPlan",
    "CurveSpace",
    "GracefulStop",
    "PooledCells",
    "ProfileTable",
    "ShapeSearch",
    "fit_basis_functions",
    "fit_encoder",
    "pool_cells",
    "pooled_start",
    "shift_grid",
    "start_latent",
    "start_shapes",
    "survive_interrupt",
    "working_model",
]
