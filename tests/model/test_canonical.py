"""What is public does not depend on the order, sign and offset that training left."""

import numpy as np
import pytest
import torch
from model_helpers import all_tables, assert_same_tables, fit, small_counts, twin

VARIANTS = [(True, "collapsed"), (False, "collapsed"), (True, "non-collapsed")]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: f"scale={v[0]}-{v[1]}")
def spread(request):
    """A model with shifts whose genes are spread over all its bases."""
    scale_invariant, inference = request.param
    model = fit(
        small_counts(100, 24),
        n_basis=5,
        scale_invariant=scale_invariant,
        translation_invariant=True,
        inference=inference,
        basis_functions="network",  # whose parameters can be moved and mirrored exactly
        shape_deviation=0.0,
    )
    spread_genes(model)
    return model


def spread_genes(model, bases=None):
    """Assign gene j to basis ``bases[j % len(bases)]`` with some doubt, and spread the shifts."""
    module = model.module
    bases = np.arange(module.n_basis) if bases is None else np.asarray(bases)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        shape = module.assignment.logits.shape
        module.assignment.logits.copy_(torch.randn(shape, generator=generator))
        rows = torch.arange(shape[0])
        module.assignment.logits[rows, torch.as_tensor(bases[rows % len(bases)])] += 6.0
        module.genes.shift.copy_(0.4 * torch.randn(shape, generator=generator))
        module.basis.amplitude.copy_(
            0.5 * torch.randn(module.basis.amplitude.shape, generator=generator)
        )
    model._remember_latent()


def test_renumbering_the_bases_changes_nothing(spread):
    other = twin(spread)
    module = other.module
    order = torch.tensor([2, 0, 3, 1])
    columns = torch.cat([torch.zeros(1, dtype=torch.long), order + 1])
    with torch.no_grad():
        for name in ("direction", "threshold", "amplitude", "level"):
            parameter = getattr(module.basis, name)
            parameter.copy_(parameter[order])
        parameters = [module.assignment.logits, module.genes.shift]
        if module.genes.scale_invariant:
            parameters.append(module.genes.log_scale)
        for parameter in parameters:
            parameter.copy_(parameter[:, columns])
    assert not torch.equal(module.basis.level, spread.module.basis.level)
    assert_same_tables(all_tables(other), all_tables(spread), rtol=1e-5, atol=1e-6)


def test_mirroring_z_changes_nothing(spread):
    other = twin(spread)
    with torch.no_grad():
        other.module.basis.direction.neg_()
        other.module.genes.shift.neg_()
        other.module.z_encoder.mean_encoder.weight.neg_()
        other.module.z_encoder.mean_encoder.bias.neg_()
    other._remember_latent()
    assert other.orientation_ == -spread.orientation_
    assert_same_tables(all_tables(other), all_tables(spread), rtol=1e-4, atol=1e-5)


def moved(model, basis, offset):
    """The same functions of z + δ, with ``offset`` added to the shifts of one basis."""
    other = twin(model)
    module = other.module
    with torch.no_grad():
        before = module.basis.norms()[basis].clone()
        module.genes.shift[:, basis] += offset
        network = basis - 1
        module.basis.threshold[network] -= offset * module.basis.direction[network, 0]
        if module.genes.scale_invariant:
            # The norm of the moved function differs; λ makes up for it.
            module.genes.log_scale[:, basis] += (module.basis.norms()[basis] / before).log()
    return other


@pytest.mark.parametrize("basis", [1, 4])
def test_moving_a_basis_and_its_shifts_changes_nothing(spread, basis):
    other = moved(spread, basis, 0.3)
    assert_same_tables(all_tables(other), all_tables(spread), rtol=1e-3, atol=1e-4)


def test_moving_a_basis_and_its_shifts_leaves_the_trends(spread):
    other = moved(spread, 2, -0.5)
    z = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(
        other.get_gene_trends(z=z), spread.get_gene_trends(z=z), rtol=1e-3, atol=1e-4
    )


def test_moved_shifts_are_centred_again(spread):
    np.testing.assert_allclose(moved(spread, 3, 0.7).get_shifts(), spread.get_shifts(), atol=1e-5)


def test_the_first_basis_is_flat(spread):
    basis = spread.get_basis_functions(np.linspace(-5, 5, 11))
    assert list(basis.columns) == ["0", "1", "2", "3", "4"]
    np.testing.assert_array_equal(basis["0"], 1.0)
    assert (basis.drop(columns="0").std() > 1e-3).all()


def test_the_flat_basis_has_no_shift(spread):
    np.testing.assert_array_equal(spread.get_shifts()["0"], 0.0)


def test_labels_follow_the_position_of_the_peak(spread):
    peaks = spread.get_basis_functions().drop(columns="0").idxmax().to_numpy()
    assert (np.diff(peaks) >= 0).all()
    assert peaks[0] < peaks[-1]


def test_unused_bases_come_last(spread):
    other = twin(spread)
    spread_genes(other, bases=[2, 4])
    labels = other.get_clusters()["cluster"]
    assert list(labels.cat.categories) == ["1", "2"]
    peaks = other.get_basis_functions()[["1", "2"]].idxmax()
    assert peaks["1"] <= peaks["2"]


def test_shifts_have_mean_zero_within_groups(spread):
    other = twin(spread)
    with torch.no_grad():
        other.module.assignment.logits.mul_(20.0)
    clusters = other.get_clusters()
    assert clusters["shift"].abs().max() > 0.1
    means = clusters.groupby("cluster", observed=True)["shift"].mean()
    np.testing.assert_allclose(means, 0.0, atol=1e-6)


def test_assignments_are_probabilities(spread):
    phi = spread.get_assignments()
    assert (phi.to_numpy() >= 0).all()
    np.testing.assert_allclose(phi.sum(axis=1), 1.0, atol=1e-12)


def test_clusters_are_the_most_probable_bases_with_their_values(spread):
    phi, clusters = spread.get_assignments(), spread.get_clusters()
    labels = clusters["cluster"].astype(str)
    assert (labels == phi.idxmax(axis=1)).all()
    shifts, scales = spread.get_shifts(), spread.get_scales()
    for gene, label in labels.items():
        row = clusters.loc[gene]
        assert row["confidence"] == phi.loc[gene, label]
        assert row["shift"] == shifts.loc[gene, label]
        assert row["scale"] == scales.loc[gene, label]


def test_coclustering_is_the_probability_of_sharing_a_basis(spread):
    phi = spread.get_assignments()
    together = spread.get_coclustering(["gene3", "gene8"])
    expected = float((phi.loc["gene3"] * phi.loc["gene8"]).sum())
    assert together.loc["gene3", "gene8"] == pytest.approx(expected)
    assert together.loc["gene8", "gene3"] == pytest.approx(expected)
    assert together.loc["gene3", "gene3"] == 1.0


def test_trends_follow_from_the_tables(spread):
    """Σ_k φ_jk m_j λ_jk b_k(z + δ_jk), from public numbers only."""
    z = np.linspace(-1.5, 1.5, 5)
    gene = "gene7"
    tables = (spread.get_assignments(), spread.get_scales(), spread.get_shifts())
    phi, scale, shift = (table.loc[gene] for table in tables)
    unit = float(spread.module.genes.feature_scale[7])
    expected = sum(
        phi[k] * unit * scale[k] * spread.get_basis_functions(z + shift[k])[k].to_numpy()
        for k in phi.index
    )
    np.testing.assert_allclose(spread.get_gene_trends(gene, z)[gene], expected, rtol=1e-4)


def test_trends_keep_the_order_in_which_genes_are_asked_for(spread):
    trends = spread.get_gene_trends(["gene9", "gene2"])
    assert list(trends.columns) == ["gene9", "gene2"]
    # The grid of basis values spans the genes at hand, so the last digits may differ.
    alone = spread.get_gene_trends("gene2")["gene2"]
    np.testing.assert_allclose(trends["gene2"], alone, rtol=2e-6)


def test_turning_the_model_round_mirrors_trends_and_shifts(spread):
    z = np.linspace(-1.5, 1.5, 5)
    other = twin(spread)
    other.orientation_ = -spread.orientation_
    np.testing.assert_allclose(other.get_gene_trends(z=-z), spread.get_gene_trends(z=z))
    np.testing.assert_allclose(other.get_clusters()["shift"], -spread.get_clusters()["shift"])
    np.testing.assert_array_equal(
        other.get_latent_representation(), -spread.get_latent_representation()
    )
