"""The width of the prior of shifts is part of a module's state."""

import pytest
import torch

from basisvae_scvi.module import BasisVAEModule


def small():
    return BasisVAEModule(5, n_basis=3, gene_likelihood="nb", translation_invariant=True)


def test_a_state_carries_the_width_and_older_states_have_that_of_the_paper():
    learned, other = small(), small()
    assert learned.genes.shift_prior_sd == 1.0
    learned.genes.shift_prior_sd.fill_(0.5)
    state = learned.state_dict()
    other.load_state_dict(state)
    assert other.genes.shift_prior_sd == 0.5
    del state["genes.shift_prior_sd"]
    other.load_state_dict(state)
    assert other.genes.shift_prior_sd == 1.0


def test_starting_anew_forgets_the_width():
    module = small()
    module.genes.shift_prior_sd.fill_(0.5)
    module.genes.reset_parameters()
    assert module.genes.shift_prior_sd == 1.0


def test_gradient_pulls_shifts_back_by_the_width():
    module = small()
    module.genes.shift_prior_sd.fill_(0.5)
    shift = torch.tensor([0.3, -1.0], requires_grad=True)
    module.genes.log_prior_shift(shift).sum().backward()
    assert shift.grad.tolist() == pytest.approx([-0.3 / 0.25, 1.0 / 0.25])
