"""The structure search finds what was planted, and nothing where nothing was."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from model_helpers import brief_start
from scipy import stats
from scipy.special import logsumexp
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, v_measure_score
from structure_helpers import settled

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import expected_counts, simulate_counts, toy_groups, toy_shifts
from basisvae_scvi.inference import (
    PairEvidence,
    WorkingBases,
    _start,
    fit_basis_functions,
    pool_cells,
)
from basisvae_scvi.inference.structure import (
    CurveGrid,
    find_structure,
    place_on_grid,
    working_evidence,
)
from basisvae_scvi.inference.structure._moves import Moves
from basisvae_scvi.inference.structure._restart import Restart


def order(found, adata):
    z = found.structure.share @ found.grid.z
    return abs(spearmanr(z, adata.obs["true_z"]).statistic)


@pytest.mark.parametrize("seed", [100, 101])
def test_groups_of_figure_1(seed):
    adata = toy_groups(seed=seed)
    genes, z = settled(adata, "gaussian", shift=False)
    found = find_structure(genes, [[z]], seed, 1)
    assert v_measure_score(adata.var["true_group"], found.structure.label) == 1.0
    assert order(found, adata) > 0.995


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 101, 102])
def test_shapes_of_figure_1_when_shifts_are_free(seed):
    adata = toy_groups(seed=seed)
    genes, z = settled(adata, "gaussian", shift=True)
    found = find_structure(genes, [[z]], seed, 2)
    structure, shape = found.structure, adata.var["true_shape"].to_numpy()
    assert v_measure_score(shape, structure.label) == 1.0
    assert order(found, adata) > 0.995
    bump = shape == "transient"
    curve = structure.label[bump][0] - 1
    delta = structure.at_shift[bump, curve] @ found.grid.shifts
    assert abs(np.corrcoef(delta, adata.var["true_shift"][bump])[0, 1]) > 0.99


def test_one_curve_explains_figure_5():
    adata = toy_shifts(seed=5)
    genes, z = settled(adata, "gaussian", shift=True)
    found = find_structure(genes, [[z]], 0, 1)
    structure = found.structure
    assert structure.n_curves == 1
    assert (structure.label == 1).all()
    delta = structure.at_shift[:, 0] @ found.grid.shifts
    assert abs(np.corrcoef(delta, adata.var["true_shift"])[0, 1]) > 0.99


@pytest.mark.slow
def test_counts_with_flat_genes():
    adata = simulate_counts(seed=2)
    genes, z = settled(adata, "nb", shift=True)
    found = find_structure(genes, [[z]], 0, 1)
    label = found.structure.label
    assert adjusted_rand_score(adata.var["true_group"], label) > 0.95
    is_flat = (adata.var["true_shape"] == "flat").to_numpy()
    assert (label[is_flat] == 0).mean() > 0.95
    assert (label[~is_flat] != 0).mean() > 0.95
    # The libraries of these cells are half made of genes that change, which bends the flat ones.
    assert np.ptp(found.hyperparameters.composition) > 0.05
    assert found.structure.total > found.flat_total + 1000


@pytest.mark.parametrize("seed", [1, 4])
def test_flat_genes_are_level_where_most_others_change(seed):
    """Of the libraries five sixths change: flat genes drift by half along them."""
    shapes = ("peak", "switch_on", "double", "down", "pulse", "flat")
    sizes = {"n_obs": 700, "n_vars": 180, "mean_count": 0.8, "max_shift": 0.0}
    adata = simulate_counts(shapes=shapes, seed=seed, **sizes)
    genes, z = settled(adata, "nb", shift=False)
    found = find_structure(genes, [[z]], 0, 1)
    is_flat = (adata.var["true_shape"] == "flat").to_numpy()
    np.testing.assert_array_equal(found.structure.label == 0, is_flat)
    # What flat genes lack of the libraries, at the places of the cells.
    level = expected_counts(adata)[:, is_flat].sum(1) / np.asarray(adata.X.sum(1)).ravel()
    bins = np.argsort(np.argsort(adata.obs["true_z"])) // 70
    share = found.structure.share
    composition = share @ found.hyperparameters.composition
    true, fitted = (np.bincount(bins, v) / 70 for v in (np.log(level), composition))
    assert np.ptp(true) > 0.4
    np.testing.assert_allclose(fitted - fitted.mean(), true - true.mean(), atol=0.1)


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("name", ["gaussian", "nb"])
def test_the_bound_never_falls_and_is_in_the_history(name, shift):
    if name == "nb":
        adata = simulate_counts(seed=4100, n_obs=500, n_vars=100)
    else:
        adata = toy_groups(seed=103, n_obs=200)
    genes, z = settled(adata, name, shift=shift)
    found = find_structure(genes, [[z]], 0, 1)
    bounds = [entry.bound for entry in found.history]
    assert len(bounds) >= 2
    assert (np.diff(bounds) > -1e-6).all()  # sums of the same terms, done twice
    assert found.history[-1].n_used_bases == len(np.unique(found.structure.label))
    assert found.totals == [found.structure.total] or np.isclose(
        found.totals[0], found.structure.total, atol=1e-6
    )


def beginning_from(adata, shift, curves_of):
    """A restart, and a structure of the given curves with cells settled on them."""
    genes, z = settled(adata, "gaussian", shift=shift)
    restart = Restart(genes, z, np.random.default_rng(0), 0)
    share = place_on_grid(genes.grid, z)
    genes.evidence.pool(share)
    curves = restart.seeding.own_curves(np.asarray(curves_of))
    structure = genes.sweep(genes.structure(curves, np.zeros(len(curves))), 5)
    return restart, genes.settle(genes.at(share, structure), 3)


def test_other_curves_from_where_the_cells_are_lead_to_the_best_structure():
    """Of one curve where there are three, no search has gone on yet."""
    adata = toy_groups(seed=107, n_obs=200)
    restart, poor = beginning_from(adata, True, [0])
    found = restart.recombine(poor, [], 8)
    assert v_measure_score(adata.var["true_shape"], found.label) == 1.0
    genes, z = settled(adata, "gaussian", shift=True)
    reference = find_structure(genes, [[z]], 0, 1)
    assert found.total == pytest.approx(reference.structure.total, abs=10.0)
    assert {entry.move for entry in restart.history} == {"recombine"}
    assert restart.history[-1] == (0, "recombine", found.total, len(np.unique(found.label)))
    assert found.total > poor.total + 500.0


def test_given_curves_are_tried_before_new_ones():
    adata = toy_groups(seed=107, n_obs=200)
    restart, poor = beginning_from(adata, True, [0])
    assert restart.recombine(poor, [], 0) is poor
    genes, z = settled(adata, "gaussian", shift=True)
    reference = find_structure(genes, [[z]], 0, 1).structure
    found = restart.recombine(poor, [poor.curves, reference.curves], 0)
    assert v_measure_score(adata.var["true_shape"], found.label) == 1.0
    assert found.total == pytest.approx(reference.total, abs=10.0)
    assert found.total > poor.total + 500.0
    assert [entry.move for entry in restart.history] == ["recombine"]


def test_other_curves_in_vain_leave_everything_where_it_was():
    adata = toy_groups(seed=107, n_obs=200)
    restart, poor = beginning_from(adata, True, [0])
    best = restart.recombine(poor, [], 8)
    n_entries = len(restart.history)
    again = restart.recombine(best, [], 8)
    np.testing.assert_array_equal(again.curves, best.curves)
    np.testing.assert_array_equal(again.share, best.share)
    assert (again.total, len(restart.history)) == (pytest.approx(best.total), n_entries)
    # The cells are pooled at their places again.
    genes = restart.genes
    bound = genes.structure(again.curves, again.complexity).bound
    assert bound == pytest.approx(again.bound, abs=1e-6)


def test_settling_that_lowers_the_total_is_undone():
    """Held far from where they belong, cells would lose; then all stays as it was."""
    genes, z = settled(toy_groups(seed=107, n_obs=200), "gaussian", shift=True)
    found = find_structure(genes, [[z]], 0, 1).structure
    restart = Restart(genes, -z, np.random.default_rng(0), 0)
    genes.log_anchor = 20.0 * genes.log_anchor
    assert genes.settle(found, 3).total < found.total - 100
    kept = restart._settled(found)
    np.testing.assert_array_equal(kept.share, found.share)
    assert kept.total == pytest.approx(found.total, abs=1e-6)
    # The genes are pooled where the cells are.
    again = genes.structure(kept.curves, kept.complexity)
    assert again.bound == pytest.approx(kept.bound, abs=1e-6)


def test_curves_that_no_gene_follows_go():
    """Between two moves a curve may have no gene at all; merging two of them concerns none."""
    genes, z = settled(toy_groups(seed=105, n_obs=150, n_per_group=4), "gaussian", shift=False)
    found = find_structure(genes, [[z]], 0, 1).structure
    n_curves = found.n_curves
    combs = 3.0 * np.sin(np.outer([40.0, 55.0], genes.grid.x))
    curves = np.concatenate([found.curves, combs])
    crowded = genes.structure(curves, np.r_[found.complexity, -5.0, -6.0])
    assert crowded.phi[:, -2:].sum() < 0.05
    crowded = genes.at(found.share, crowded)
    no_own = np.full(genes.evidence.n_genes, -np.inf)
    moves = Moves(genes, lambda _: curves[:0], no_own, lambda *_: None)
    nobody = np.empty(0, dtype=int)
    merged = moves.attempt("merge", crowded, [n_curves, n_curves + 1], combs[:1], nobody)
    assert merged.gain == pytest.approx(11.0, abs=0.5)  # what the two have cost
    left = moves.improve(crowded)
    assert left.n_curves == n_curves
    assert left.bound > found.bound - 1.0


def test_of_two_orders_the_one_is_taken_that_tells_more():
    adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    genes, z = settled(adata, "gaussian", shift=False)
    folded = (np.abs(z) - np.abs(z).mean()) / np.abs(z).std()
    found = find_structure(genes, [[folded], [z]], 0, 2)
    assert (found.order, len(found.order_gains), len(found.totals)) == (1, 2, 2)
    assert found.order_gains[1] > found.order_gains[0] + 50
    assert found.order_gains[1] > 0
    assert order(found, adata) > 0.99
    alone = find_structure(genes, [[z]], 0, 2)
    assert alone.order == 0
    assert alone.totals == found.totals  # orders that are not taken leave no trace


def test_the_seed_decides():
    adata = toy_groups(seed=104, n_obs=150, n_per_group=4)
    first, second = (
        find_structure(*_with_start(settled(adata, "gaussian", shift=False)), 7, 2)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.structure.phi, second.structure.phi)
    np.testing.assert_array_equal(first.structure.curves, second.structure.curves)
    assert first.totals == second.totals


def _with_start(pair):
    genes, z = pair
    return genes, [[z]]


def train(adata, *, max_epochs=2, brief=False, **arguments):
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, gene_likelihood="nb", **arguments)
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    with brief_start() if brief else nullcontext():
        model.train(max_epochs=max_epochs, seed=0, n_restarts=1, **quiet)
    return model


def test_no_trajectory_leaves_all_genes_flat():
    adata = simulate_counts(n_obs=400, n_vars=100, shapes=("flat",), seed=105)
    with pytest.warns(UserWarning, match=r"No gene changes along z .* train\(init="):
        model = train(adata, n_basis=8, translation_invariant=True)
    assert (model.get_clusters()["cluster"].astype(str) == "0").all()


def test_the_module_takes_over_what_was_found():
    adata = simulate_counts(n_obs=400, n_vars=60, max_shift=0.0, mean_count=3.0, seed=106)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No gene changes along z")
        model = train(adata, n_basis=8, max_epochs=10)
    search = model.search_
    label = model.module.assignment().argmax(1).numpy()
    np.testing.assert_array_equal(label, search["assignments"][0].argmax(1))
    assert adjusted_rand_score(adata.var["true_group"], label) > 0.95
    history = model.get_search_history()
    # Own courses of genes are found again from where they were, to a thousandth.
    assert history["bound"].iloc[-1] == pytest.approx(search["bounds"][0], abs=1e-3)
    assert search["bounds"][0] > search["flat_bound"] + 100
    assert history["n_used_bases"].iloc[-1] == 4


@pytest.mark.slow
def test_cells_that_the_first_order_folds_are_unfolded():
    shapes = ("peak", "down", "double")
    sizes = {"n_obs": 300, "n_vars": 200, "mean_count": 1.0, "max_shift": 0.0}
    adata = simulate_counts(shapes=shapes, seed=3, **sizes)
    model = train(adata, n_basis=10)
    agreement = spearmanr(model.get_latent_representation()[:, 0], adata.obs["true_z"]).statistic
    assert abs(agreement) > 0.95
    assert len(model.search_["order_bounds"]) > 1
    taken = model.search_["order_bounds"][model.search_["order"]]
    assert taken == model.search_["order_bounds"].max() > 0
    assert model.search_["bounds"][0] > model.search_["flat_bound"]


def test_composition_is_interpolated_between_its_points():
    adata = simulate_counts(n_obs=60, n_vars=10, seed=108)
    BasisVAE.setup_anndata(adata)
    module = BasisVAE(adata, n_basis=3).module
    z = module.basis.quadrature_nodes.new_tensor([[-7.0], [-1.013], [0.4]])
    assert module.composition_factor(z) is None
    module.set_composition(np.array([-2.0, 2.0]), np.array([-0.2, 0.2]))
    expected = np.exp(0.1 * np.array([-2.0, -1.013, 0.4]))
    np.testing.assert_allclose(module.composition_factor(z)[:, 0], expected, rtol=1e-6)


def test_evidence_table_agrees_with_the_sums_over_its_grid():
    """Evidence is that of the prior of δ at hand; mean and spread of δ are those of N(0, 1)."""
    adata = simulate_counts(n_obs=300, n_vars=24, mean_count=1.0, seed=107)
    model = train(adata, brief=True, n_basis=5, translation_invariant=True)
    module = model.module
    module.genes.shift_prior_sd.fill_(0.5)
    z = model.orientation_ * model.get_latent_representation()[:, 0]
    x = adata.X.toarray().astype(float)
    size = x.sum(1) / float(module.genes.library)
    constants = model._module_constants()
    pairs = PairEvidence(WorkingBases.of(module), z, x, size, constants)
    table, posterior = pairs.table(), pairs.posterior()
    grid = CurveGrid(True)
    variance = pool_cells(x, z[:, None], size).variance
    evidence = working_evidence(
        *(module.likelihood, x, size, variance, grid, constants, True),
        deviation=float(module.genes.shape_deviation),
    )
    evidence.pool(place_on_grid(grid, z))
    points = module.basis.quadrature_nodes.new_tensor(grid.x)[:, None]
    values = module.basis(points).detach().double().numpy()
    k = int(np.ptp(values, axis=0).argmax())  # others may be level
    curve = np.log(values[:, k])
    values, _ = evidence.table(curve[None], np.arange(24))
    joint = values[:, 0] + grid.log_shift_prior(0.5)
    total = logsumexp(joint, axis=1)
    of_posterior = values[:, 0] + grid.log_shift_prior()
    share = np.exp(of_posterior - logsumexp(of_posterior, axis=1, keepdims=True))
    mean = share @ grid.shifts
    sd = np.sqrt(share @ grid.shifts**2 - mean**2)
    is_narrow = sd < 0.09  # sums over the grid are no integral any more
    np.testing.assert_allclose(table.evidence[~is_narrow, k], total[~is_narrow], rtol=1e-10)
    is_wide = sd > 0.21  # others are read off a parabola
    assert is_wide.sum() >= 2
    np.testing.assert_allclose(posterior.shift_mean[is_wide, k], mean[is_wide], atol=1e-10)
    np.testing.assert_allclose(posterior.shift_mean[:, k], mean, atol=0.05)
    np.testing.assert_allclose(posterior.shift_sd[is_wide, k], sd[is_wide], atol=1e-8)
    at_best = grid.shifts[joint.argmax(1)]
    np.testing.assert_allclose(table.shift[:, k], at_best, atol=0.051)  # half a step
    assert np.ptp(table.shift[:, k] - at_best) > 0.01


@pytest.mark.parametrize("prior_sd", [1.0, 0.4])
def test_evidence_of_a_narrow_shift_is_that_of_its_gaussian(prior_sd):
    """Gaussian data on a smooth curve: evidence by quadrature, optimum by a fine grid."""
    adata = toy_shifts(n_obs=300, n_vars=6, noise_sd=0.15, max_shift=1.2, seed=11)
    BasisVAE.setup_anndata(adata, latent_key="true_z")
    model = BasisVAE(adata, n_basis=2, gene_likelihood="gaussian", translation_invariant=True)
    module, grid = model.module, CurveGrid(True)
    module.genes.shift_prior_sd.fill_(prior_sd)
    values = 1.5 * np.exp(-0.5 * (grid.x / 0.6) ** 2) - 0.3
    fit_basis_functions(module.basis, grid.x[:, None], values[None], level_unused=True)
    z = ((adata.obs.true_z - adata.obs.true_z.mean()) / adata.obs.true_z.std()).to_numpy()
    z = 0.05 * np.rint(z / 0.05)  # cells on points of the grid: nothing is shared between two
    x, constants = np.asarray(adata.X, float), model._module_constants()
    bases = WorkingBases.of(module)
    table = PairEvidence(bases, z, x, np.ones(300), constants, weight=4.0).table()
    variance = pool_cells(x, z[:, None], None).variance
    delta = np.linspace(-2.2, 2.2, 2201)
    scale = np.linspace(1e-4, 6.0, 1201)
    for j in range(6):
        points = module.basis.quadrature_nodes.new_tensor((z + delta[:, None]).reshape(-1, 1))
        basis = module.basis(points)[:, 1].detach().double().numpy().reshape(2201, 300)
        basis *= constants.scale[j]
        square, cross, own = (basis**2).sum(1), basis @ x[:, j], (x[:, j] ** 2).sum()
        misfit = own - 2 * np.outer(cross, scale) + np.outer(square, scale**2)
        joint = -2.0 * misfit / variance[j] - scale
        joint += stats.norm.logpdf(delta[:, None], scale=prior_sd)
        top = np.unravel_index(joint.argmax(), joint.shape)
        mass = np.exp(joint - joint.max()).sum() * (scale[1] - scale[0]) * (delta[1] - delta[0])
        np.testing.assert_allclose(table.shift[j, 1], delta[top[0]], atol=0.01)
        np.testing.assert_allclose(table.scale[j, 1], scale[top[1]], rtol=0.02)
        expected = joint.max() + np.log(mass) + 2.0 * own / variance[j]  # less that of the data
        # The basis of the grid leaves out a part of 5 · 10⁻⁴ of what this sharp curve explains,
        # 8,000 nats; with a hundredth of its threshold, 3 · 10⁻⁴.
        np.testing.assert_allclose(table.evidence[j, 1], expected, rtol=6e-4)


def test_of_many_features_those_that_change_are_looked_at(monkeypatch):
    """Centred features: their sums say nothing."""
    monkeypatch.setattr(_start, "_MAX_GENES", 3)
    rng = np.random.default_rng(0)
    z = np.linspace(-2, 2, 200)
    noise = rng.normal(size=(200, 8))
    signal = np.where(np.isin(np.arange(8), [1, 4, 6]), np.sin(z)[:, None] - np.sin(z).mean(), 0.0)
    pooled = pool_cells(signal + 0.3 * (noise - noise.mean(0)) + 0.01, z[:, None], None)
    assert _start._best_seen(pooled, is_count=False).tolist() == [1, 4, 6]
    counts = pool_cells(np.tile(np.arange(8.0), (50, 1)), z[:50, None], np.ones(50))
    assert _start._best_seen(counts, is_count=True).tolist() == [5, 6, 7]
