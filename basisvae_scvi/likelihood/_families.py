"""One small class per likelihood: how a signal becomes a location, and log p of an observation.

Every family maps the *signal* of a (gene, basis) pair, ``scale_jk * b_k(z_n + delta_jk)``, to the
location parameter of the observation model, and evaluates the elementwise log density there. The
formulas are written in deviance form, ``log p = saturated(x) - deviance(x, location)``: both parts
stay accurate in float32 for counts of 10^5 and for dispersions from 0 to infinity, where the
textbook form cancels catastrophically.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

# Expected counts are bounded away from zero by this much, as part of the model's definition: a
# basis function may vanish, but a stray count under it must not cost infinitely many nats.
MEAN_FLOOR = 1e-8

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_STIRLING_FROM = 8.0
_TINY = 1e-20


def _stirling_remainder(t: Tensor) -> Tensor:
    """ω(t) = log Γ(t) − [(t − ½) log t − t + ½ log 2π] for t > 0, accurate also for large t.

    The series is the usual asymptotic one, Σ B_2k / (2k (2k − 1) t^(2k − 1)) (Abramowitz and
    Stegun 6.1.40); its error at t = 8 is below 1e-11.
    """
    is_large = t >= _STIRLING_FROM
    large = torch.where(is_large, t, torch.full_like(t, _STIRLING_FROM))
    small = torch.where(is_large, torch.ones_like(t), t)
    r = 1.0 / large
    r2 = r * r
    series = r * (1 / 12 - r2 * (1 / 360 - r2 * (1 / 1260 - r2 * (1 / 1680 - r2 / 1188))))
    direct = torch.lgamma(small) - ((small - 0.5) * small.log() - small + _HALF_LOG_2PI)
    return torch.where(is_large, series, direct)


def _log_ratio(a: Tensor, b: Tensor, difference: Tensor) -> Tensor:
    """log(a / b) of positive numbers, to the last digit whatever their ratio.

    The difference a − b is given as well, since a and b may be sums in which it has been rounded
    away. It is divided by the smaller of the two, so that the argument of log1p never cancels.
    """
    return torch.copysign(torch.log1p(difference.abs() / torch.minimum(a, b)), difference)


class _PoissonDeviance(torch.autograd.Function):
    """x log(x / μ) − (x − μ), with the gradient 1 − x / μ."""

    @staticmethod
    def forward(ctx, x: Tensor, mean: Tensor) -> Tensor:
        ctx.save_for_backward(x, mean)
        positive = x.clamp_min(_TINY)
        return x * _log_ratio(positive, mean, positive - mean) - (x - mean)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor]:
        x, mean = ctx.saved_tensors
        return None, (gradient * (mean - x) / mean).sum_to_size(mean.shape)


class _NegativeBinomialDeviance(torch.autograd.Function):
    """x log(x / μ) + (x + θ) log((μ + θ) / (x + θ)), and its gradients.

    Written as x log[x (μ + θ) / (μ (x + θ))] + θ log[(μ + θ) / (x + θ)], whose terms do not
    cancel for small θ. The gradients are θ (μ − x) / (μ (μ + θ)), and
    log[(μ + θ) / (x + θ)] + (x − μ) / (μ + θ).
    """

    @staticmethod
    def forward(ctx, x: Tensor, mean: Tensor, theta: Tensor) -> Tensor:
        x_total, mean_total, below = x + theta, mean + theta, mean - x
        log_total = _log_ratio(mean_total, x_total, below)
        ctx.save_for_backward(mean, theta, below, mean_total, log_total)
        positive = x.clamp_min(_TINY)
        a, b = positive * mean_total, mean * (positive + theta)
        return x * _log_ratio(a, b, theta * (positive - mean)) + theta * log_total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        mean, theta, below, mean_total, log_total = ctx.saved_tensors
        relative = gradient * below / mean_total
        by_mean = by_theta = None
        if ctx.needs_input_grad[1]:
            by_mean = (relative * (theta / mean)).sum_to_size(mean.shape)
        if ctx.needs_input_grad[2]:
            by_theta = (gradient * log_total - relative).sum_to_size(theta.shape)
        return None, by_mean, by_theta


class Likelihood(ABC):
    """Observation model of one entry of the data matrix.

    Attributes
    ----------
    name
        Value of ``gene_likelihood`` that selects the family.
    is_count
        Whether the data must be non-negative integers.
    has_dispersion
        Whether a positive per-gene nuisance parameter is needed (θ, or σ for the Gaussian).
    has_dropout
        Whether the family has logits of an extra zero.
    """

    name: str
    is_count = False
    has_dispersion = False
    has_dropout = False

    @abstractmethod
    def location(
        self, signal: Tensor, size_factor: Tensor | None, offset: Tensor | None
    ) -> Tensor:
        """Location parameter from the signal, the cell's size factor and the batch offset."""

    @abstractmethod
    def deviance(self, x: Tensor, location: Tensor, dispersion: Tensor | None) -> Tensor:
        """Nats lost against the saturated model, elementwise, ≥ 0."""

    @abstractmethod
    def saturated(self, x: Tensor, dispersion: Tensor | None) -> Tensor:
        """Log density where the location fits ``x`` perfectly; the same for every basis."""

    def expected(self, location: Tensor) -> Tensor:
        """Expected observation at a location (without dropout)."""
        return location

    def course(self, location: Tensor) -> Tensor:
        """What own deviations add to: the log of a count, else the location itself."""
        return location

    def from_course(self, course: Tensor) -> Tensor:
        """The inverse of :meth:`course`."""
        return course

    def combine(
        self, x: Tensor, saturated: Tensor, deviance: Tensor, dropout_logits: Tensor | None
    ) -> Tensor:
        """Put saturated part, deviance and dropout together to log p."""
        return saturated - deviance

    def log_prob(
        self,
        x: Tensor,
        location: Tensor,
        dispersion: Tensor | None = None,
        dropout_logits: Tensor | None = None,
    ) -> Tensor:
        """Elementwise log density of ``x``; all arguments broadcast against each other."""
        deviance = self.deviance(x, location, dispersion)
        return self.combine(x, self.saturated(x, dispersion), deviance, dropout_logits)


class _Counts(Likelihood):
    is_count = True

    def location(
        self, signal: Tensor, size_factor: Tensor | None, offset: Tensor | None
    ) -> Tensor:
        """Expected count: size factor times batch factor times signal, never below the floor."""
        mean = signal if size_factor is None else signal * size_factor
        if offset is not None:
            mean = mean * offset.exp()
        return mean + MEAN_FLOOR

    def course(self, location: Tensor) -> Tensor:
        """Log mean."""
        return location.log()

    def from_course(self, course: Tensor) -> Tensor:
        """Mean."""
        return course.exp()


class Poisson(_Counts):
    """Poisson counts: log p = x log μ − μ − log x!."""

    name = "poisson"

    def saturated(self, x: Tensor, dispersion: Tensor | None) -> Tensor:
        """−½ log 2πx − ω(x) for x > 0, and 0 at x = 0."""
        positive = torch.where(x > 0, x, torch.ones_like(x))
        value = -_HALF_LOG_2PI - 0.5 * positive.log() - _stirling_remainder(positive)
        return torch.where(x > 0, value, torch.zeros_like(value))

    def deviance(self, x: Tensor, location: Tensor, dispersion: Tensor | None) -> Tensor:
        """X log(x / μ) − (x − μ)."""
        return _PoissonDeviance.apply(x, location)


class NegativeBinomial(_Counts):
    """Negative binomial counts with mean μ and inverse dispersion θ (variance μ + μ²/θ)."""

    name = "nb"
    has_dispersion = True

    def saturated(self, x: Tensor, dispersion: Tensor | None) -> Tensor:
        """½ log[θ / ((x + θ) 2πx)] + ω(x + θ) − ω(θ) − ω(x) for x > 0, and 0 at x = 0."""
        positive = torch.where(x > 0, x, torch.ones_like(x))
        total = positive + dispersion
        value = -0.5 * (torch.log1p(positive / dispersion) + positive.log())
        value = value - _HALF_LOG_2PI + _stirling_remainder(total)
        value = value - _stirling_remainder(dispersion) - _stirling_remainder(positive)
        return torch.where(x > 0, value, torch.zeros_like(value))

    def deviance(self, x: Tensor, location: Tensor, dispersion: Tensor | None) -> Tensor:
        """X log(x / μ) + (x + θ) log((μ + θ) / (x + θ))."""
        return _NegativeBinomialDeviance.apply(x, location, dispersion)


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    """Negative binomial whose zeros are joined by dropout with probability sigmoid(logit)."""

    name = "zinb"
    has_dropout = True

    def combine(
        self, x: Tensor, saturated: Tensor, deviance: Tensor, dropout_logits: Tensor | None
    ) -> Tensor:
        """Log[π + (1 − π) NB(0)] at zeros and log(1 − π) + log NB(x) elsewhere."""
        zero = softplus(-deviance - dropout_logits) - softplus(-dropout_logits)
        nonzero = saturated - deviance - softplus(dropout_logits)
        # lerp at weights 0 and 1 is exact, and its gradient needs no masks.
        return torch.lerp(zero, nonzero, (x > 0).to(zero.dtype))


class Gaussian(Likelihood):
    """Gaussian observations with one standard deviation σ_j per feature."""

    name = "gaussian"
    has_dispersion = True

    def location(
        self, signal: Tensor, size_factor: Tensor | None, offset: Tensor | None
    ) -> Tensor:
        """Signal plus the additive batch offset; size factors do not apply."""
        return signal if offset is None else signal + offset

    def saturated(self, x: Tensor, dispersion: Tensor | None) -> Tensor:
        """−½ log 2πσ²."""
        return (-_HALF_LOG_2PI - dispersion.log()).expand_as(x)

    def deviance(self, x: Tensor, location: Tensor, dispersion: Tensor | None) -> Tensor:
        """½ ((x − μ) / σ)²."""
        return 0.5 * ((x - location) / dispersion).square()


class Bernoulli(Likelihood):
    """Binary observations; the signal is the logit of success."""

    name = "bernoulli"

    def location(
        self, signal: Tensor, size_factor: Tensor | None, offset: Tensor | None
    ) -> Tensor:
        """Logit: signal plus the additive batch offset."""
        return signal if offset is None else signal + offset

    def saturated(self, x: Tensor, dispersion: Tensor | None) -> Tensor:
        """0: a perfectly fitting logit predicts the observation with certainty."""
        return torch.zeros_like(x)

    def deviance(self, x: Tensor, location: Tensor, dispersion: Tensor | None) -> Tensor:
        """−x log σ(l) − (1 − x) log σ(−l)."""
        return -(x * logsigmoid(location) + (1.0 - x) * logsigmoid(-location))

    def expected(self, location: Tensor) -> Tensor:
        """Probability of success."""
        return torch.sigmoid(location)


LIKELIHOODS: dict[str, Likelihood] = {
    family.name: family
    for family in (
        ZeroInflatedNegativeBinomial(),
        NegativeBinomial(),
        Poisson(),
        Gaussian(),
        Bernoulli(),
    )
}


def get_likelihood(name: str) -> Likelihood:
    """Return the likelihood family called ``name``.

    Raises
    ------
    ValueError
        If there is no such family; the message lists those there are.
    """
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise ValueError(f"gene_likelihood={name!r} is unknown; choose one of {[*LIKELIHOODS]}.")
    return LIKELIHOODS[name]
