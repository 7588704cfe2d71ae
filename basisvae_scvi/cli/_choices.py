"""What an option may be: one of some names, or a number in a range."""

import math
from enum import StrEnum

from typer import BadParameter


class GeneLikelihood(StrEnum):
    """Observation models."""

    zinb = "zinb"
    nb = "nb"
    poisson = "poisson"
    gaussian = "gaussian"
    bernoulli = "bernoulli"

    @property
    def is_count(self) -> bool:
        """Whether the data are counts."""
        return self in (GeneLikelihood.zinb, GeneLikelihood.nb, GeneLikelihood.poisson)


class Dispersion(StrEnum):
    """Whether batches share a gene's dispersion."""

    gene = "gene"
    gene_batch = "gene-batch"


class ZeroInflation(StrEnum):
    """What the dropout logits depend on."""

    gene = "gene"
    latent = "latent"


class Inference(StrEnum):
    """Treatments of the mixing proportions."""

    collapsed = "collapsed"
    non_collapsed = "non-collapsed"
    fixed_pi = "fixed_pi"


class GenePrior(StrEnum):
    """What the priors of scales and shifts are weighed with."""

    assigned = "assigned"
    all = "all"


class BasisFunctionKind(StrEnum):
    """What basis functions are."""

    smooth = "smooth"
    network = "network"


class Objective(StrEnum):
    """What a basis costs."""

    evidence = "evidence"
    paper = "paper"


class Accelerator(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


class SimulationKind(StrEnum):
    """Simulators."""

    counts = "counts"
    toy_groups = "toy-groups"
    toy_shifts = "toy-shifts"


class CountLikelihood(StrEnum):
    """Observation models of simulated counts."""

    nb = "nb"
    zinb = "zinb"
    poisson = "poisson"


def positive(value: float) -> float:
    """Refuse what is not a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise BadParameter(f"{value:g} is not a finite number above 0")
    return value


def non_negative(value: float | None) -> float | None:
    """Refuse what is not a finite number of at least 0."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise BadParameter(f"{value:g} is not a finite number of at least 0")
    return value


def deviation(value: str | None) -> float | str | None:
    """Number of at least 0, or ``"learned"``."""
    if value is None or value == "learned":
        return value
    try:
        return non_negative(float(value))
    except ValueError:
        raise BadParameter(f"{value!r} is neither 'learned' nor a number") from None


def fraction(value: float | None) -> float | None:
    """Refuse what does not lie in [0, 1)."""
    if value is not None and not 0 <= value < 1:
        raise BadParameter(f"{value:g} does not lie in [0, 1)")
    return value


def share(value: float | None) -> float | None:
    """Refuse what does not lie in (0, 1]."""
    if value is not None and not 0 < value <= 1:
        raise BadParameter(f"{value:g} does not lie in (0, 1]")
    return value
