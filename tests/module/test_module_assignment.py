"""KL_w and the priors against closed forms and Monte Carlo; the closed-form update of φ."""

import numpy as np
import pytest
import reference
import torch
from scipy import stats

from basisvae_scvi.module import SCHEMES, Assignment
from basisvae_scvi.module._assignment import FixedProportions
from basisvae_scvi.module._priors import kl_normal, log_prior_normal, log_prior_scale

P, K = 9, 4
GIVEN = [0.1, 0.2, 0.3, 0.4]


def make(scheme, concentration=0.25, seed=0, spread=2.0):
    """Assignment in float64 with random φ, and random ψ or π where the scheme has them."""
    torch.manual_seed(seed)
    assignment = Assignment(P, K, scheme, concentration).double()
    with torch.no_grad():
        assignment.logits.normal_(0.0, spread)
        if scheme == "non-collapsed":
            assignment.proportions.log_concentration.normal_()
        if scheme == "fixed_pi":
            assignment.proportions.proportions = torch.tensor(GIVEN, dtype=torch.float64)
    return assignment


@pytest.mark.parametrize("concentration", [0.125, 1.0, 8.0])
@pytest.mark.parametrize("spread", [0.5, 20.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_kl_is_the_closed_form(scheme, spread, concentration):
    assignment = make(scheme, concentration, spread=spread)
    expected = reference.kl_assignment(assignment)
    assert assignment.kl().item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    phi = assignment()
    assert assignment.kl(phi).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(phi.sum(1).detach().numpy(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        phi.detach().numpy(), reference.softmax(reference.array(assignment.logits)), rtol=1e-12
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_certain_assignments_have_finite_kl(scheme):
    assignment = make(scheme)
    phi = torch.eye(K).double()[torch.arange(P) % K]
    assert assignment.kl(phi).item() == pytest.approx(
        {
            "collapsed": lambda: reference.kl_collapsed(phi.numpy(), 0.25),
            "non-collapsed": lambda: reference.kl_non_collapsed(
                phi.numpy(), 0.25, reference.array(assignment.proportions.log_concentration.exp())
            ),
            "fixed_pi": lambda: reference.kl_fixed(phi.numpy(), np.array(GIVEN)),
        }[scheme](),
        rel=1e-9,
    )


def test_fixed_proportions_are_uniform_unless_given():
    phi = reference.softmax(np.random.default_rng(0).normal(size=(P, K)))
    uniform = Assignment(P, K, "fixed_pi").double()
    expected = reference.negative_entropy(phi) + P * np.log(K)
    assert uniform.kl(torch.tensor(phi)).item() == pytest.approx(expected, rel=1e-9)
    given = FixedProportions(2, torch.tensor([0.25, 0.75]))
    assert given.kl(torch.tensor([[1.0, 0.0]])).item() == pytest.approx(np.log(4.0), rel=1e-6)


@pytest.mark.parametrize("scheme", ["collapsed", "non-collapsed"])
def test_kl_by_monte_carlo_over_the_proportions(scheme):
    """E_q[log q(w) q(π) − log p(w|π) p(π)], or the paper's log ∫ exp(Σ φ log π) p(π) dπ."""
    assignment = make(scheme, 1.5, spread=1.0)
    rng, phi = np.random.default_rng(5), assignment().detach().numpy()
    n_k, entropy = phi.sum(0), -(phi * np.log(phi)).sum()
    if scheme == "collapsed":
        # Draws from a Dirichlet near the integrand's own, weighted back.
        log_pi = np.log(rng.dirichlet(n_k + 2.0, 40_000))
        log_weight = log_pi @ (n_k + 0.5) - log_pi @ (n_k + 1.0)
        near, prior = stats.dirichlet(n_k + 2.0), stats.dirichlet(np.full(K, 1.5))
        centre = np.full(K, 1 / K)  # densities without their powers of π: the normalisers
        log_c = prior.logpdf(centre) - 0.5 * np.log(centre).sum()
        log_c -= near.logpdf(centre) - (n_k + 1.0) @ np.log(centre)
        draws = np.exp(log_weight)
        estimate = -entropy - np.log(draws.mean()) - log_c
        error = draws.std() / draws.mean() / np.sqrt(len(draws))
    else:
        psi = reference.array(assignment.proportions.log_concentration.exp())
        pi = rng.dirichlet(psi, 40_000)
        pi = np.maximum(pi, 1e-300)
        pi /= pi.sum(1, keepdims=True)
        q, p = stats.dirichlet(psi), stats.dirichlet(np.full(K, 1.5))
        draws = q.logpdf(pi.T) - p.logpdf(pi.T) - np.log(pi) @ n_k - entropy
        estimate, error = draws.mean(), draws.std() / np.sqrt(len(draws))
    assert error < 0.1 * abs(estimate)
    assert assignment.kl().item() == pytest.approx(estimate, abs=4.5 * error)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_by_finite_differences(scheme):
    assignment = make(scheme)
    names = [name for name, _ in assignment.named_parameters()]
    leaves = [p.detach().clone().requires_grad_() for p in assignment.parameters()]
    assert len(leaves) == (2 if scheme == "non-collapsed" else 1)
    holder = _KullbackLeibler(assignment)

    def kl(*values):
        given = {f"assignment.{n}": v for n, v in zip(names, values, strict=True)}
        return torch.func.functional_call(holder, given, ())

    assert torch.autograd.gradcheck(kl, leaves)


class _KullbackLeibler(torch.nn.Module):
    """KL_w as the forward pass, which functional calls need."""

    def __init__(self, assignment):
        super().__init__()
        self.assignment = assignment

    def forward(self):
        return self.assignment.kl()


def bound(assignment, evidence, weight):
    """Σ φ · evidence − β_w KL_w, written independently."""
    phi = reference.softmax(reference.array(assignment.logits))
    return (phi * evidence).sum() - weight * reference.kl_assignment(assignment)


@pytest.mark.parametrize("weight", [0.3, 1.0, 25.0])
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_update_raises_the_bound_and_ends_at_a_fixed_point(scheme, scale, weight):
    for seed in range(2):
        assignment = make(scheme, seed=seed)
        evidence = scale * np.random.default_rng(seed).normal(size=(P, K))
        before = bound(assignment, evidence, weight)
        assignment.update(torch.tensor(evidence), weight)
        after = bound(assignment, evidence, weight)
        assert after >= before - 1e-9 * abs(before)
        # Stationary: no step of the exact fixed point changes φ.
        phi = assignment().detach().numpy()
        n_k = phi.sum(0)
        log_weight = {
            "collapsed": lambda n: reference.digamma(0.25 + n),
            "non-collapsed": lambda n: reference.digamma(0.25 + n),  # ψ = α + n_k, up to Σ
            "fixed_pi": lambda n: np.log(GIVEN),
        }[scheme](n_k)
        again = reference.softmax(evidence / weight + log_weight)
        np.testing.assert_allclose(again, phi, atol=2e-4)
        if scheme == "non-collapsed":
            psi = reference.array(assignment.proportions.log_concentration.exp())
            np.testing.assert_allclose(psi, 0.25 + n_k, rtol=1e-9)
        # and nearby φ are no better
        rng = np.random.default_rng(seed)
        for _ in range(3):
            other = make(scheme)
            other.load_state_dict(assignment.state_dict())
            with torch.no_grad():
                other.logits += 0.05 * torch.tensor(rng.normal(size=(P, K)))
            assert bound(other, evidence, weight) <= after + 1e-5 * (1 + abs(after))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_update_works_in_single_precision_with_large_evidence(scheme):
    assignment = Assignment(P, K, scheme, 0.25)
    evidence = -1e6 + 1e3 * torch.randn(P, K, generator=torch.Generator().manual_seed(0))
    assignment.update(evidence)
    phi = assignment().detach()
    assert torch.isfinite(assignment.logits).all()
    assert (phi.argmax(1) == evidence.argmax(1)).all()
    assert phi.max(1).values.min() > 1 - 1e-6
    assert torch.isfinite(assignment.kl())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_set_makes_phi_the_state(scheme):
    assignment = make(scheme)
    phi = torch.tensor(reference.softmax(np.random.default_rng(2).normal(size=(P, K))))
    assignment.set(phi)
    torch.testing.assert_close(assignment(), phi, rtol=1e-9, atol=1e-12)
    certain = torch.eye(K).double()[torch.arange(P) % K]
    assignment.set(certain)
    torch.testing.assert_close(assignment(), certain, rtol=1e-9, atol=1e-12)
    assert torch.isfinite(assignment.logits).all()


def test_unknown_scheme_lists_the_known():
    with pytest.raises(ValueError, match=r"'collapsed', 'non-collapsed', 'fixed_pi'"):
        Assignment(P, K, "gibbs")


def test_priors_are_the_densities_of_the_paper():
    delta, scale = torch.randn(50).double(), torch.rand(50).double() * 5
    np.testing.assert_allclose(log_prior_normal(delta), stats.norm.logpdf(delta), rtol=1e-12)
    narrow = stats.norm.logpdf(delta, scale=0.4)
    np.testing.assert_allclose(log_prior_normal(delta, 0.4), narrow, rtol=1e-12)
    np.testing.assert_allclose(log_prior_scale(scale), stats.gamma.logpdf(scale, 1.0), rtol=1e-12)
    for prior, leaf in ((log_prior_normal, delta), (log_prior_scale, scale)):
        assert torch.autograd.gradcheck(prior, leaf[:5].requires_grad_())


@pytest.mark.parametrize(("at", "width"), [(0.0, 1.0), (0.7, 0.4)])
def test_kl_of_normals_is_the_integral(at, width):
    mean, sd = torch.tensor([[0.3, -1.2]]).double(), torch.tensor([[0.5, 1.7]]).double()
    z = np.linspace(-18, 18, 20_001)
    total = 0.0
    for m, s in zip(mean[0].tolist(), sd[0].tolist(), strict=True):
        q = stats.norm(m, s)
        p = stats.norm(at, width)
        total += (q.pdf(z) * (q.logpdf(z) - p.logpdf(z))).sum() * (z[1] - z[0])
    prior = torch.tensor([at, width], dtype=torch.float64)
    assert kl_normal(mean, sd, *prior).item() == pytest.approx(total, rel=1e-9)
    if at == 0.0:
        assert reference.kl_normal(mean.numpy(), sd.numpy()) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("assignment_weight", [1.0, 3.0])
@pytest.mark.parametrize("threshold", [1e-4, 1e-2, 0.2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_active_pairs_cost_is_within_the_stated_bound(scheme, threshold, assignment_weight):
    """Σ φ · evidence − β_w KL_w at the optimum, against its value at what is left of φ."""
    assignment = make(scheme)
    evidence = torch.randn(P, K, dtype=torch.float64) * 5.0 * assignment_weight
    for _ in range(200):  # also where one update follows slowly
        assignment.update(evidence, assignment_weight)
    whole, few = assignment.active(), assignment.active(threshold)
    assert P <= len(few.pairs) < len(whole.pairs) == P * K

    def bound(active):
        fit = (active.weight * active.pairs.select(evidence)).sum()
        return (fit - assignment_weight * active.kl).item()

    phi = assignment().detach()
    lost = 1.0 - few.pairs.scatter(few.pairs.select(phi), P, K).sum(1)
    cost, most = bound(whole) - bound(few), -assignment_weight * torch.log1p(-lost).sum().item()
    assert lost.max() > 0.05 * threshold
    assert -1e-9 < cost <= most + 1e-9
    if scheme != "collapsed":  # there φ does not change the weights of the others
        assert cost == pytest.approx(most, rel=1e-6, abs=1e-9)
    weights = few.pairs.scatter(few.weight, P, K)
    np.testing.assert_allclose(weights.sum(1).detach().numpy(), 1.0, rtol=1e-12)


def test_every_gene_keeps_its_best_pair():
    assignment = make("collapsed", spread=0.01)
    active = assignment.active(0.9)
    assert active.pairs.gene.tolist() == list(range(P))
    assert active.pairs.basis.tolist() == assignment().argmax(1).tolist()
    assert active.weight.tolist() == [1.0] * P


@pytest.mark.parametrize("concentration", [1e-4, 0.25, 8.0])
@pytest.mark.parametrize("spread", [1.0, 30.0, 3000.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_update_is_the_iteration_over_all_pairs(scheme, spread, concentration):
    """Pairs that are left out for speed are those that no weight can bring back."""
    assignment = make(scheme, concentration)
    evidence = spread * torch.randn(P, K, dtype=torch.float64)
    evidence[0, 1] = -torch.inf
    phi, is_first = assignment().detach().numpy(), True
    for _ in range(200):
        # At first the non-collapsed scheme has the ψ it was left with.
        if scheme == "fixed_pi":
            log_weight = np.log(GIVEN)
        elif scheme == "non-collapsed" and is_first:
            psi = reference.array(assignment.proportions.log_concentration.exp())
            log_weight = reference.digamma(psi)
        else:
            log_weight = reference.digamma(concentration + phi.sum(0))
        new = reference.softmax(evidence.numpy() + log_weight)
        change, phi, is_first = np.abs(new - phi).max(), new, False
        if change < 1e-6:
            break
    assignment.update(evidence)
    np.testing.assert_allclose(assignment().detach().numpy(), phi, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pairs_that_are_cut_off_leave_the_gradient_finite(scheme):
    """And equal to that of q(w) on the pairs that are kept, written out."""
    assignment = Assignment(3, 4, scheme).double()
    logits = torch.tensor([[0.0, 1.0, -30.0, -59.0]] * 3, dtype=torch.float64)
    with torch.no_grad():
        assignment.logits.copy_(logits)
    assignment.active(1e-4).kl.backward()
    free = logits[:, :2].clone().requires_grad_()
    kept = torch.nn.functional.pad(torch.softmax(free, 1), (0, 2))
    entropy = torch.special.entr(torch.softmax(free, 1)).sum()
    (assignment.proportions.kl(kept.detach()) * 0 - entropy).backward(retain_graph=True)
    weights = assignment.proportions.expected_log_weights(kept)[:2].detach()
    (-(kept.sum(0)[:2] * weights).sum()).backward()
    torch.testing.assert_close(assignment.logits.grad[:, :2], free.grad, rtol=1e-8, atol=1e-10)
    assert (assignment.logits.grad[:, 2:].abs() < 1e-25).all()
