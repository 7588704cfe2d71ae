"""E_q(w)[log p(y | z, w)]: observation models, and the backends that sum them over pairs."""

from ._backends import BACKENDS, choose_backend, expected_log_likelihood, use_backend
from ._evaluators import BasisEvaluator, GridBasis, TabulatedBasis
from ._families import LIKELIHOODS, MEAN_FLOOR, Likelihood, get_likelihood
from ._mixture import MixtureLogLikelihood, Observations, Pairs
from ._torch import expected_observation

__all__ = [
    "BACKENDS",
    "LIKELIHOODS",
    "MEAN_FLOOR",
    "BasisEvaluator",
    "GridBasis",
    "Likelihood",
    "MixtureLogLikelihood",
    "Observations",
    "Pairs",
    "TabulatedBasis",
    "choose_backend",
    "expected_log_likelihood",
    "expected_observation",
    "get_likelihood",
    "use_backend",
]
