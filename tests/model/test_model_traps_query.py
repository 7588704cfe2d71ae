"""Query mapping: new cells are placed on the reference's course, which does not move."""

import numpy as np
import pytest
import torch
from model_helpers import build, fit, small_counts, train

from basisvae_scvi import BasisVAE

ENCODER_WEIGHT = "z_encoder.encoder.fc_layers.Layer 0.0.weight"


def new_cells(batches=("new",), n_obs=40):
    """Cells of batches of the given names, with the genes of the reference."""
    cells = small_counts(n_obs, 20, seed=5)
    cells.obs["batch"] = np.resize(batches, n_obs)
    return cells


def state(model):
    return {name: value.detach().clone() for name, value in model.module.state_dict().items()}


@pytest.fixture(scope="module")
def mapped(fitted_batches):
    """A query model of one new batch, its state before and after training, and the reference."""
    query = BasisVAE.load_query_data(new_cells(), fitted_batches, accelerator="cpu")
    before = state(query)
    train(query, 3)
    return query, before, state(query), fitted_batches


def test_mapping_starts_from_the_reference(mapped):
    _, before, _, reference = mapped
    for name, value in state(reference).items():
        if before[name].shape == value.shape:
            assert torch.equal(before[name], value), name
    assert torch.equal(before["genes.batch_offset"][:2], reference.module.genes.batch_offset)


def test_only_what_belongs_to_new_batches_moves(mapped):
    _, before, after, _ = mapped
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {ENCODER_WEIGHT, "genes.batch_offset"}


@pytest.mark.parametrize(
    "name",
    [
        "basis.weight",
        "basis.prior",
        "genes.deviation.weight",
        "assignment.logits",
        "genes.shift",
        "genes.log_scale",
        "genes.feature_scale",
        "genes.library",
    ],
)
def test_the_course_is_frozen_bit_for_bit(mapped, name):
    _, _, after, reference = mapped
    assert torch.equal(after[name], state(reference)[name])


def test_dispersions_of_reference_batches_are_frozen(mapped):
    _, _, after, reference = mapped
    expected = reference.module.genes.log_dispersion
    assert torch.equal(after["genes.log_dispersion"][:2], expected)


def test_offsets_of_reference_batches_are_frozen(mapped):
    query, _, after, reference = mapped
    assert torch.equal(after["genes.batch_offset"][:2], reference.module.genes.batch_offset)
    torch.testing.assert_close(query.module.genes.offsets()[:2], reference.module.genes.offsets())


def test_offsets_of_new_batches_are_trained(mapped):
    _, before, after, _ = mapped
    change = (after["genes.batch_offset"] - before["genes.batch_offset"])[2].abs()
    assert change.max() > 1e-3


def test_encoder_columns_of_new_batches_are_trained(mapped):
    _, before, after, _ = mapped
    change = (after[ENCODER_WEIGHT] - before[ENCODER_WEIGHT]).abs()
    assert change[:, -1].max() > 1e-4
    assert change[:, :-1].max() == 0.0


def test_reference_cells_keep_their_place(mapped):
    query, _, _, reference = mapped
    cells = reference.adata.copy()
    np.testing.assert_allclose(
        query.get_latent_representation(cells),
        reference.get_latent_representation(),
        atol=1e-6,
    )


def test_the_query_keeps_groups_orientation_and_range(mapped):
    query, _, _, reference = mapped
    assert query.orientation_ == reference.orientation_
    np.testing.assert_array_equal(query.latent_reference_, reference.latent_reference_)
    assert query.get_clusters().equals(reference.get_clusters())
    assert query.get_shifts().equals(reference.get_shifts())


def test_new_cells_follow_the_course():
    """Cells like those of the reference land where the reference would put them."""
    reference = fit(
        small_counts(300, 20, n_batches=2),
        setup={"batch_key": "batch"},
        max_epochs=10,
        brief=False,
        translation_invariant=True,
    )
    query = BasisVAE.load_query_data(new_cells(), reference, accelerator="cpu")
    known = BasisVAE.load_query_data(new_cells(("batch0",)), reference, accelerator="cpu")
    train(query, 2)
    train(known, 2)
    z = query.get_latent_representation()[:, 0], known.get_latent_representation()[:, 0]
    assert np.corrcoef(z)[0, 1] > 0.9


def test_nothing_moves_where_the_query_brings_no_new_batch(fitted_batches):
    query = BasisVAE.load_query_data(new_cells(("batch1",)), fitted_batches, accelerator="cpu")
    before = state(query)
    train(query, 2)
    moved = {name for name, value in state(query).items() if not torch.equal(before[name], value)}
    assert moved <= {ENCODER_WEIGHT}


def test_a_reference_of_one_named_batch_takes_a_new_one():
    reference = small_counts(60)
    reference.obs["batch"] = "only"
    model = fit(reference, setup={"batch_key": "batch"})
    query = BasisVAE.load_query_data(new_cells(), model, accelerator="cpu")
    train(query, 2)
    assert np.isfinite(query.get_latent_representation()).all()
    assert torch.equal(query.module.basis.weight, model.module.basis.weight)


def test_a_reference_without_batches_takes_new_cells(fitted):
    cells = small_counts(40, 24, seed=9)
    query = BasisVAE.load_query_data(cells, fitted, accelerator="cpu")
    before = state(query)
    train(query, 1)
    assert all(torch.equal(before[name], value) for name, value in state(query).items())
    np.testing.assert_allclose(
        query.get_latent_representation(),
        fitted.get_latent_representation(cells.copy()),
        atol=1e-6,
    )


def test_a_saved_reference_serves_as_well_as_one_in_memory(fitted_batches, tmp_path):
    fitted_batches.save(str(tmp_path / "reference"))
    results = []
    for reference in (fitted_batches, str(tmp_path / "reference")):
        torch.manual_seed(0)  # columns of new batches start from random numbers
        query = BasisVAE.load_query_data(new_cells(), reference, accelerator="cpu")
        train(query, 2)
        results.append(state(query))
    for name, value in results[0].items():
        assert torch.equal(results[1][name], value), name


def test_a_saved_query_model_reads_back(mapped, tmp_path):
    query, *_ = mapped
    query.save(str(tmp_path / "query"))
    again = BasisVAE.load(str(tmp_path / "query"), query.adata, accelerator="cpu")
    assert again.is_query_
    np.testing.assert_array_equal(
        again.get_latent_representation(), query.get_latent_representation()
    )


def test_a_query_model_that_was_saved_stays_frozen(mapped, tmp_path):
    query, *_ = mapped
    query.save(str(tmp_path / "query"))
    again = BasisVAE.load(str(tmp_path / "query"), query.adata, accelerator="cpu")
    before = state(again)
    train(again, 1)
    moved = {name for name, value in state(again).items() if not torch.equal(before[name], value)}
    assert moved <= {ENCODER_WEIGHT, "genes.batch_offset"}


def test_unfrozen_mapping_moves_the_course(fitted_batches):
    query = BasisVAE.load_query_data(new_cells(), fitted_batches, accelerator="cpu", unfrozen=True)
    before = state(query)
    train(query, 1)
    assert not torch.equal(before["basis.weight"], query.module.basis.weight)


def test_query_genes_can_be_prepared(fitted_batches):
    cells = new_cells()[:, ::-1][:, 2:].copy()
    with pytest.raises(ValueError, match=r"lacks 2 of the model's genes.*prepare_query_anndata"):
        BasisVAE.load_query_data(cells, fitted_batches, accelerator="cpu")
    BasisVAE.prepare_query_anndata(cells, fitted_batches)
    assert list(cells.var_names) == list(fitted_batches.get_var_names())
    query = BasisVAE.load_query_data(cells, fitted_batches, accelerator="cpu")
    train(query, 1)
    assert np.isfinite(query.get_latent_representation()).all()


def test_an_unknown_batch_is_refused_with_the_cure(fitted_batches):
    with pytest.raises(ValueError, match=r"load_query_data\(adata, model\)"):
        fitted_batches.get_latent_representation(new_cells())


def test_the_data_of_the_reference_are_left_alone(adata):
    model = build(adata)
    train(model)
    before = state(model)
    free = [p.requires_grad for p in model.module.parameters()]
    query = BasisVAE.load_query_data(small_counts(40, seed=3), model, accelerator="cpu")
    train(query, 1)
    assert all(torch.equal(before[name], value) for name, value in state(model).items())
    assert free == [p.requires_grad for p in model.module.parameters()]
