"""The model once more, from its textbook formulas, in numpy and scipy float64.

Nothing here calls the package: the module's raw parameters are read as arrays by their names, and
every density, expectation and bound is written out again. Loops are plain on purpose.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import digamma, gammaln, log_expit, logsumexp
from scipy.stats import norm

COUNTS = ("zinb", "nb", "poisson")
MEAN_FLOOR = 1e-8
BASIS_FLOOR = 1e-6


# -- densities --------------------------------------------------------------------------------


def log_rising_over_factorial(theta, n_max):
    """log [Γ(x + θ) / (Γ(θ) x!)] for x = 0 … n_max, from the product of its factors."""
    i = np.arange(n_max, dtype=np.float64)
    return np.concatenate([[0.0], np.cumsum(np.log((theta + i) / (i + 1.0)))])


def log_nb(x, mean, theta):
    """Negative binomial of mean μ and variance μ + μ²/θ, elementwise."""
    x, mean, theta = np.broadcast_arrays(*(np.asarray(v, float) for v in (x, mean, theta)))
    binomial = gammaln(x + theta) - gammaln(theta) - gammaln(x + 1)
    return binomial - theta * np.log1p(mean / theta) + x * (np.log(mean) - np.log(mean + theta))


def log_nb_by_products(x, mean, theta):
    """The same for scalars and any θ: no difference of large lgammas."""
    binomial = log_rising_over_factorial(theta, int(x))[int(x)]
    return binomial - theta * np.log1p(mean / theta) + x * np.log(mean / (mean + theta))


def log_prob(name, x, location, dispersion=None, dropout_logits=None):
    """Log density of every family of the package; ``location`` is a logit for Bernoulli."""
    if name == "gaussian":
        return norm.logpdf(x, location, dispersion)
    if name == "bernoulli":
        return x * log_expit(location) + (1 - x) * log_expit(-np.asarray(location))
    if name == "poisson":
        return x * np.log(location) - location - gammaln(np.asarray(x) + 1)
    value = log_nb(x, location, dispersion)
    if name == "zinb":
        # With probability sigmoid(logit) the count is dropped, otherwise it is the NB's.
        kept = log_expit(-np.asarray(dropout_logits)) + value
        value = np.where(np.asarray(x) > 0, kept, np.logaddexp(log_expit(dropout_logits), kept))
    return value


def mean_of_signal(name, signal, size_factor=1.0, offset=0.0):
    """Location parameter of λ m b(z + δ) in a cell."""
    if name in COUNTS:
        return signal * size_factor * np.exp(offset) + MEAN_FLOOR
    return signal + offset


# -- basis functions --------------------------------------------------------------------------


def prior_rule(n_latent):
    """Nodes and weights of a tensor trapezoidal rule under N(0, I), fine enough to be exact."""
    n_nodes, half_width = (4801, 9.0) if n_latent == 1 else (161, 8.0)
    axis = np.linspace(-half_width, half_width, n_nodes)
    weight = norm.pdf(axis) / norm.pdf(axis).sum()
    nodes = np.stack(np.meshgrid(*[axis] * n_latent, indexing="ij"), -1).reshape(-1, n_latent)
    weights = weight
    for _ in range(n_latent - 1):
        weights = np.multiply.outer(weights, weight)
    return nodes, weights.reshape(-1)


@dataclass
class Networks:
    """The K − 1 networks r_k(z) = Σ_h v_kh tanh(w_khᵀ z + a_kh) + u_k and the flat basis."""

    direction: np.ndarray
    threshold: np.ndarray
    amplitude: np.ndarray
    level: np.ndarray
    positive: bool
    normalize: bool
    norms: list = field(init=False)

    def __post_init__(self):
        nodes, weights = prior_rule(self.direction.shape[1])
        self.norms = []
        for k in range(len(self.level)):
            values = self.link(k, nodes)
            power = weights @ values if self.positive else np.sqrt(weights @ values**2)
            self.norms.append(power if self.normalize else 1.0)

    def link(self, k, points):
        """Network k through its link, points ``(…, Q)`` held at the border beyond ±6."""
        points = np.minimum(np.maximum(points, -6.0), 6.0)
        hidden = np.tanh(points @ self.direction[k] + self.threshold[k])
        raw = hidden @ self.amplitude[k] + self.level[k]
        return np.logaddexp(0.0, raw) + BASIS_FLOOR if self.positive else raw

    def __call__(self, k, points):
        """b_k at points ``(…, Q)``; basis 0 is flat."""
        points = np.asarray(points, float)
        if k == 0:
            return np.ones(points.shape[:-1])
        return self.link(k - 1, points) / self.norms[k - 1]

    @classmethod
    def of(cls, functions):
        """Read the raw parameters of a BasisFunctions module."""
        names = ("direction", "threshold", "amplitude", "level")
        arrays = {name: array(getattr(functions, name)) for name in names}
        return cls(**arrays, positive=functions.positive, normalize=functions.normalize)


def array(tensor):
    """Float64 copy of a tensor."""
    return tensor.detach().cpu().double().numpy().copy()


# -- q(w) -------------------------------------------------------------------------------------


def softmax(logits):
    return np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


def negative_entropy(phi):
    return sum(p * np.log(p) for p in phi.ravel() if p > 0)


def kl_collapsed(phi, alpha):
    """Σ φ log φ − log [Γ(Kα) / Γ(α)^K · Π_k Γ(n_k + α) / Γ(P + Kα)]."""
    n_genes, n_basis = phi.shape
    value = gammaln(n_basis * alpha) - n_basis * gammaln(alpha)
    value += sum(gammaln(n_k + alpha) for n_k in phi.sum(0)) - gammaln(n_genes + n_basis * alpha)
    return negative_entropy(phi) - value


def kl_dirichlet(psi, alpha):
    """KL(Dirichlet(ψ) ‖ Dirichlet(α, …, α))."""
    value = gammaln(psi.sum()) - gammaln(psi).sum()
    value -= gammaln(len(psi) * alpha) - len(psi) * gammaln(alpha)
    return value + sum((p - alpha) * (digamma(p) - digamma(psi.sum())) for p in psi)


def kl_non_collapsed(phi, alpha, psi):
    """Σ φ log φ − Σ_k n_k E_Dir(ψ)[log π_k] + KL(Dir(ψ) ‖ Dir(α))."""
    expected_log_pi = digamma(psi) - digamma(psi.sum())
    return negative_entropy(phi) - phi.sum(0) @ expected_log_pi + kl_dirichlet(psi, alpha)


def kl_fixed(phi, proportions):
    """Σ φ log (φ / π)."""
    return negative_entropy(phi) - sum(row @ np.log(proportions) for row in phi)


def kl_assignment(assignment):
    """KL_w from the raw parameters of an Assignment module."""
    phi, proportions = softmax(array(assignment.logits)), assignment.proportions
    if hasattr(proportions, "proportions"):
        return kl_fixed(phi, array(proportions.proportions))
    alpha = array(proportions.alpha)[0]
    if hasattr(proportions, "log_concentration"):
        return kl_non_collapsed(phi, alpha, np.exp(array(proportions.log_concentration)))
    return kl_collapsed(phi, alpha)


# -- the whole model --------------------------------------------------------------------------


class Model:
    """Likelihood table and objective from the raw parameters of a BasisVAEModule."""

    def __init__(self, module, name):
        genes = module.genes
        self.name, self.module, self.genes = name, module, genes
        self.phi = softmax(array(module.assignment.logits))
        n_genes, n_basis = self.phi.shape
        self.scale, self.shift = np.ones(self.phi.shape), np.zeros(self.phi.shape)
        self.shift_prior_sd = float(genes.shift_prior_sd)
        if genes.scale_invariant:
            self.scale = np.exp(array(genes.log_scale))
        if genes.translation_invariant:
            self.shift = array(genes.shift)
            self.shift[:, 0] = 0.0
        self.unit = np.repeat(array(genes.feature_scale)[:, None], n_basis, axis=1)
        self.unit[:, 0] = array(genes.feature_level)
        self.basis = Networks.of(module.basis)
        self.offset = np.zeros((module.n_batch, n_genes))
        if module.n_batch > 1:
            raw, reference = array(genes.batch_offset), array(genes.batch_is_reference) > 0
            self.offset = raw - raw[reference].mean(axis=0)

    def dispersion(self, batch, j):
        if self.name not in ("zinb", "nb", "gaussian"):
            return None
        table = np.exp(np.clip(array(self.genes.log_dispersion), -10.0, 14.0))
        return table[batch if len(table) > 1 else 0, j]

    def dropout_logit(self, z, j):
        if self.name != "zinb":
            return None
        dropout = self.genes.dropout
        if not hasattr(dropout, "hidden"):
            return array(dropout)[0, j]
        hidden = np.tanh(array(dropout.hidden.weight) @ z + array(dropout.hidden.bias))
        return array(dropout.output.weight)[j] @ hidden + array(dropout.output.bias)[j]

    def size_factor(self, x, given):
        if self.name not in COUNTS:
            return 1.0
        return given if given is not None else x.sum() / float(self.genes.library)

    def log_prob_table(self, x, z, batch, given_size_factor=None):
        """log p(y_nj | k), shape (N, P, K), one entry at a time."""
        table = np.empty((*x.shape, self.phi.shape[1]))
        for n, j, k in np.ndindex(table.shape):
            given = None if given_size_factor is None else given_size_factor[n]
            signal = self.unit[j, k] * self.scale[j, k] * self.basis(k, z[n] + self.shift[j, k])
            location = mean_of_signal(
                self.name, signal, self.size_factor(x[n], given), self.offset[batch[n], j]
            )
            table[n, j, k] = log_prob(
                self.name,
                x[n, j],
                location,
                self.dispersion(batch[n], j),
                self.dropout_logit(z[n], j),
            )
        return table

    def log_prior(self, everywhere=False):
        """Σ φ [log N(δ | 0, 1) + log Γ(λ | 1, 1)] (φ = 1 for ``everywhere``), plus offsets."""
        prior = np.zeros(self.phi.shape)
        if self.genes.scale_invariant:
            prior += -self.scale
        if self.genes.translation_invariant:
            prior += norm.logpdf(self.shift, scale=self.shift_prior_sd)
        total = prior.sum() if everywhere else (self.phi * prior).sum()
        if self.module.n_batch > 1:
            total += norm.logpdf(array(self.genes.batch_offset)).sum()
        return total


def kl_normal(mean, sd):
    """KL(N(mean, sd²) ‖ N(0, 1)) summed over everything."""
    return (np.log(1.0 / sd) + (sd**2 + mean**2) / 2 - 0.5).sum()
