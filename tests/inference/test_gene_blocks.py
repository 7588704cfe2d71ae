"""Blocks of further genes: independent of each other, and at the optimum of the bound."""

import numpy as np
import pytest
import torch
from model_helpers import build, fit, small_counts
from scipy import sparse
from scvi import REGISTRY_KEYS

from basisvae_scvi._parallel import run_jobs
from basisvae_scvi.inference import FrozenCells, FrozenModel, fit_gene_block
from basisvae_scvi.inference._gene_blocks import GeneBlock, is_near
from basisvae_scvi.inference._own_courses import set_own_courses
from basisvae_scvi.likelihood import use_backend
from basisvae_scvi.model._constants import feature_constants
from basisvae_scvi.module import BasisFunctions, FeatureConstants

N_OBS, N_TRAINED, N_ALL = 300, 24, 40


@pytest.fixture(scope="module")
def everything():
    return small_counts(N_OBS, N_ALL, seed=4, mean_count=4.0)


@pytest.fixture(scope="module", params=["observed z", "encoder"])
def trained(request, everything):
    variable = everything[:, :N_TRAINED].copy()
    setup = {"latent_key": "true_z"} if request.param == "observed z" else {}
    return fit(variable, setup=setup, max_epochs=30, n_basis=6, translation_invariant=True)


@pytest.fixture(scope="module", params=["profile", "evidence"])
def parts(request, trained, everything):
    """Frozen cells and model, and what makes values and constants of some genes."""
    z, variance = trained.get_latent_representation(return_dist=True)
    size_factor = trained._size_factors(trained._matrix())
    cells = FrozenCells(
        mean=trained.orientation_ * z.astype(np.float64),
        sd=np.sqrt(variance.astype(np.float64)),
        size_factor=size_factor,
        batch=np.zeros(N_OBS, dtype=np.int64),
        n_obs=N_OBS,
    )

    def block(genes):
        values = sparse.csr_matrix(everything.X[:, genes])
        return values, feature_constants(values, trained.module.likelihood, size_factor)

    integrates = request.param == "evidence"
    return FrozenModel.of(trained.module, cells, integrates=integrates), cells, block


def test_a_gene_does_not_depend_on_the_genes_beside_it(parts):
    frozen, cells, block = parts
    together = fit_gene_block(frozen, cells, *block(np.arange(N_ALL)), seed=1)
    alone = fit_gene_block(frozen, cells, *block([31]), seed=1)
    for name in ("assignment", "scale", "shift"):
        beside_others = getattr(together, name)[31]
        np.testing.assert_allclose(getattr(alone, name)[0], beside_others, rtol=1e-4, atol=1e-5)


def test_dense_and_sparse_blocks_agree_and_the_seed_decides(parts):
    frozen, cells, block = parts
    values, constants = block([30, 31, 32])
    one = fit_gene_block(frozen, cells, values, constants, seed=1)
    dense = fit_gene_block(frozen, cells, values.toarray(), constants, seed=1)
    other = fit_gene_block(frozen, cells, values, constants, seed=2)
    np.testing.assert_array_equal(dense.shift, one.shift)
    assert np.abs(other.shift - one.shift).max() > 0
    np.testing.assert_allclose(other.assignment, one.assignment, atol=0.02)


def _module_of(trained, everything, genes):
    """A model of the held genes whose z, bases and proportions are those of the trained one."""
    held = build(everything[:, genes].copy(), n_basis=6, translation_invariant=True)
    held.module.basis.load_state_dict(trained.module.basis.state_dict())
    held.module.given_size_factor = True  # those of all genes, see _long_fit
    return held.module.double()


def _long_fit(module, cells, x, table, n_rounds=3, n_steps=150):
    """Joint ascent of the module's own bound by all cells, φ in closed form in between.

    Where bases are compared by evidence, which needs no λ and δ, ``table`` holds it.
    """
    module.basis.requires_grad_(False)
    z = torch.tensor(cells.mean)
    size_factor = torch.tensor(cells.size_factor)[:, None]
    tensors = {
        REGISTRY_KEYS.X_KEY: x,
        REGISTRY_KEYS.SIZE_FACTOR_KEY: size_factor,
        REGISTRY_KEYS.BATCH_KEY: torch.zeros(len(z), 1),
    }
    nodes, shares = np.polynomial.hermite_e.hermegauss(7 if cells.sd.any() else 1)
    latents = [torch.tensor(cells.mean + node * cells.sd) for node in nodes]
    shares = shares / shares.sum()
    pairs = module.pairs(module.assignment())

    def per_pair(weight):
        sums = [module.log_likelihood(tensors, latent, pairs, weight) for latent in latents]
        return [sum(w * s[i] for w, s in zip(shares, sums, strict=True)) for i in range(2)]

    optimizer = torch.optim.Adam(module.genes.parameters(), lr=0.05)
    for round_ in range(n_rounds):
        for step in range(n_steps):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / n_steps) * 0.6**round_
            # From all bases at their own best to the weights of q(w).
            weight = pairs.select(module.assignment().detach()).clamp_min(1e-3)
            optimizer.zero_grad()
            per_cell, _ = per_pair(weight)
            (-per_cell.sum() - module.genes.log_prior(pairs, weight)).backward()
            optimizer.step()
        with torch.no_grad():
            logits = table.integrated
            if logits is None:
                evidence = per_pair(weight)[1] + module.genes.log_prior_per_pair(pairs)
                logits = pairs.scatter(evidence, *module.assignment().shape)
            module.assignment.set(torch.softmax(logits + module.log_weight, 1))


def test_result_is_that_of_a_fit_with_bases_unchanged(trained, everything, parts):
    frozen, cells, block = parts
    # Where q(z) is wide, the reference has seven times the work, and shifts are less certain.
    is_wide = bool(cells.sd.any())
    genes = np.arange(N_TRAINED, N_TRAINED + 6 if is_wide else N_ALL)
    values, constants = block(genes)
    found = fit_gene_block(frozen, cells, values, constants, seed=0)
    module = _module_of(trained, everything, genes)
    module.log_weight = torch.tensor(frozen.log_weight)
    for name, value in (("scale", "feature_scale"), ("level", "feature_level")):
        constant = torch.tensor(getattr(constants, name))
        getattr(module.genes, value).copy_(constant)
    # The fit starts where the profile table puts it: δ has more than one optimum.
    start = GeneBlock(frozen, cells, values, constants)
    start.deviate(start.propose())
    with torch.no_grad():
        module.genes.shape_deviation.copy_(start.genes.shape_deviation)
        module.genes.deviation.set(start.genes.deviation.weight)
        module.genes.log_scale.copy_(start.genes.log_scale)
        module.genes.shift.copy_(start.genes.shift)
        module.genes.log_dispersion.copy_(start.genes.log_dispersion)
    with use_backend("torch"):
        _long_fit(module, cells, torch.tensor(values.toarray(), dtype=torch.float64), start)
    expected = module.assignment().detach().numpy()
    table = start.working
    if table is not None:  # λ and own deviations then follow from δ
        set_own_courses(module.genes, expected, table.working, table.curves, table.z)
    label = expected.argmax(1)
    is_clear = expected.max(1) > 0.6
    assert is_clear.mean() > 0.7
    np.testing.assert_array_equal(found.assignment.argmax(1)[is_clear], label[is_clear])
    assert np.abs(found.assignment - expected).max() < 0.05
    rows = np.arange(len(genes))
    shift, scale = module.genes.shifts().detach(), module.genes.scales(6).detach()
    found_shift, found_scale = found.shift[rows, label], found.scale[rows, label]
    tolerance = 0.15 if is_wide else 0.03
    np.testing.assert_allclose(found_shift, shift.numpy()[rows, label], atol=tolerance)
    np.testing.assert_allclose(found_scale, scale.numpy()[rows, label], rtol=tolerance)
    # What that costs, in nats of the bound of each gene, of which 0.5 are one standard deviation.
    bounds, start.integrated = [], None
    own = [
        None if table is None else fit.weight for fit in (found.deviation, module.genes.deviation)
    ]
    tables = (found.scale, found.shift), (scale.numpy(), shift.numpy())
    for (block_scale, block_shift), weight in zip(tables, own, strict=True):
        if weight is not None:
            start.genes.deviation.set(np.asarray(weight))
        start.genes.log_dispersion.data.copy_(module.genes.log_dispersion)
        start.genes.log_scale.data.copy_(torch.tensor(block_scale).log())
        start.genes.shift.data.copy_(torch.tensor(block_shift))
        evidence = start.evidence(torch.ones(start.shape, dtype=torch.bool), exact=True)
        paid = 0.0 if weight is None else 0.5 * torch.tensor(np.asarray(weight) ** 2).sum(1)
        bounds.append(torch.logsumexp(evidence + torch.tensor(frozen.log_weight), 1) - paid)
    assert (bounds[1] - bounds[0]).max() < (0.15 if is_wide else 0.1)


def test_first_look_finds_a_shift_beyond_the_grid_of_training():
    """λ, δ and the group come back from noiseless counts, though δ lies between grid points."""
    torch.manual_seed(0)
    z = np.linspace(-2.0, 2.0, 400)[:, None]
    model = build(
        small_counts(50, 12), n_basis=4, translation_invariant=True, basis_functions="network"
    )
    functions = model.module.basis
    with torch.no_grad():
        functions.amplitude.zero_()
        functions.direction.fill_(3.0)
        functions.threshold.zero_()
        functions.amplitude[0, 0], functions.amplitude[1, 0] = 4.0, -4.0  # up, down
    true_shift = np.array([0.33, -0.71, 2.4])
    curves = [functions(torch.tensor(z + d, dtype=torch.float32)) for d in true_shift]
    mean = np.stack([c.detach().numpy()[:, k] for c, k in zip(curves, (1, 2, 1), strict=True)], 1)
    counts = np.rint(2000.0 * mean)
    cells = FrozenCells(z, np.zeros_like(z), np.ones(400), np.zeros(400, dtype=np.int64), 400)
    level = np.full(3, 2000.0)
    constants = FeatureConstants(level, level, np.full(3, 100.0), 1.0)
    frozen = FrozenModel.of(model.module, cells)
    found = fit_gene_block(frozen, cells, counts, constants, seed=0)
    assert found.assignment.argmax(1).tolist() == [1, 2, 1]
    rows = np.arange(3)
    np.testing.assert_allclose(found.shift[rows, [1, 2, 1]], true_shift, atol=0.02)
    np.testing.assert_allclose(found.scale[rows, [1, 2, 1]], 1.0, rtol=0.02)


def test_the_margin_grows_with_the_lead_over_the_flat_basis():
    log_phi = torch.tensor([[-3.0, 0.0, -5.0, -11.0], [-200.0, 0.0, -5.0, -40.0]])
    assert is_near(log_phi, 10.0).tolist() == [
        [True, True, True, False],
        [False, True, True, False],
    ]
    assert is_near(log_phi, 10.0, 0.2).tolist() == [
        [True, True, True, False],
        [False, True, True, True],
    ]
    assert is_near(log_phi, 0.0).sum(1).tolist() == [1, 1]


def test_quadrature_has_the_moments_of_q():
    mean, sd = np.array([[0.3, -1.0]]), np.array([[0.5, 2.0]])
    batch = np.zeros(1, dtype=np.int64)
    for n_latent, width in ((1, 1.0), (1, 0.01), (2, 1.0)):
        own_mean, own_sd = mean[:, :n_latent], width * sd[:, :n_latent]
        rule = FrozenCells(own_mean, own_sd, None, batch, 1).quadrature()
        weights = np.array([w for w, _ in rule])
        points = np.stack([z[0] for _, z in rule])
        np.testing.assert_allclose(weights @ points, own_mean[0], atol=1e-12)
        covariance = np.cov(points.T, aweights=weights, bias=True)
        np.testing.assert_allclose(covariance, np.diag(own_sd[0] ** 2).squeeze(), atol=1e-12)
    observed = FrozenCells(mean, 0 * sd, None, batch, 1)
    assert [(w, z.tolist()) for w, z in observed.quadrature()] == [(1.0, mean.tolist())]


def test_minibatches_visit_all_cells_alike():
    n = 10
    cells = FrozenCells(np.zeros((n, 1)), np.ones((n, 1)), None, np.zeros(n, dtype=int), n)
    batches = cells.minibatches(3, 4)
    chosen = torch.cat([next(batches)[0] for _ in range(5)]).numpy()
    assert np.bincount(chosen, minlength=n).tolist() == [2] * n
    again = cells.minibatches(3, 4)
    assert torch.equal(next(again)[1], next(cells.minibatches(3, 4))[1])


def test_frozen_model_is_a_copy(trained, parts):
    frozen, _, _ = parts
    assert frozen.functions is not trained.module.basis
    assert not any(p.requires_grad for p in frozen.functions.parameters())
    assert all(p.requires_grad for p in trained.module.basis.parameters())
    grid = frozen.grid
    at_ends = frozen.functions(torch.tensor([[-6.0], [6.0]])).numpy()
    # Sums over many points and over two may be rounded differently.
    np.testing.assert_allclose(grid[[0, -1]], at_ends, rtol=2e-6)
    assert (grid[:, BasisFunctions.flat] == 1).all()


def test_frozen_model_keeps_the_prior_of_shifts(trained, parts):
    _, cells, block = parts
    learned = trained.module.genes.shift_prior_sd
    before = learned.item()
    learned.fill_(0.5)
    frozen = FrozenModel.of(trained.module, cells, integrates=True)
    learned.fill_(before)
    assert frozen.gene_parameters(block([0, 1])[1]).shift_prior_sd == 0.5
    assert frozen.working.shift_prior_sd == 0.5


def _square(x):
    return x * x


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_jobs_keep_order_and_threads(n_jobs):
    before = torch.get_num_threads()
    found = run_jobs(_square, ((i,) for i in range(20)), n_tasks=20, n_jobs=n_jobs, silent=True)
    assert found == [i * i for i in range(20)]
    assert torch.get_num_threads() == before


def _interrupt(x):
    if x == 3:
        raise KeyboardInterrupt
    return x


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupt_gives_the_threads_back(n_jobs):
    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(_interrupt, ((i,) for i in range(9)), n_tasks=9, n_jobs=n_jobs, silent=True)
    assert torch.get_num_threads() == before
