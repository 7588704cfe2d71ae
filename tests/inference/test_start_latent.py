"""Normalised counts for the neighbour graph."""

import numpy as np
from scipy import sparse

from basisvae_scvi.inference._latent import normalised


def test_counts_are_normalised_in_a_copy():
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(0.3, (2500, 20)).astype(np.float32))
    before, size = counts.copy(), rng.uniform(0.5, 2.0, 2500)
    size[3] = 0.0  # an empty cell
    found = normalised(counts, size)
    expected = np.log1p(before.toarray() / np.maximum(size, 1e-6)[:, None])
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-12)
    np.testing.assert_array_equal(counts.toarray(), before.toarray())
