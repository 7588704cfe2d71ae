"""Triton kernels of the mixture likelihood: sums over pairs, and over genes of what is common.

Every program belongs to one block of cells, held in the registers of its threads, and walks
through a run of pairs (or genes). So a sum over pairs needs no exchange between threads, and a
sum over cells one reduction per pair. Both are written as partial sums, one row per program.
"""

from __future__ import annotations

from ._densities import constant_part, function, location_part, tl, triton


def _kernel(python):
    if triton is None:
        return python
    # These change from call to call; one compilation serves all.
    return triton.jit(python, do_not_specialize=["n_pairs", "n_genes", "per_chunk"])


@function
def _grid_position(points, lower, upper, inverse_step, n_grid):
    """Grid cell 1 … G − 3 that holds the points, and the place from there in grid steps.

    A point that is not a finite number has a cell, so that nothing is read out of bounds, but a
    place that is not a number.
    """
    clipped = tl.minimum(tl.maximum(points, lower), upper)
    position = (clipped - lower) * inverse_step
    cell = tl.minimum(tl.maximum(position.to(tl.int32), 1), n_grid - 3)
    return cell, position - cell.to(tl.float32) + (points - points)


@function
def _flush(target, has_fifth, a0, a1, a2, a3, a4, KIND: tl.constexpr):
    """Add what a run of pairs of one basis has gathered to the gradient of the basis values."""
    # Zeros are left out: most of the fifth point. Where that would lie beyond the grid it is 0, or
    # not a number, which must not be written there either.
    tl.atomic_add(target, a0, mask=a0 != 0.0, sem="relaxed")
    if KIND == "grid":
        tl.atomic_add(target + 1, a1, mask=a1 != 0.0, sem="relaxed")
        tl.atomic_add(target + 2, a2, mask=a2 != 0.0, sem="relaxed")
        tl.atomic_add(target + 3, a3, mask=a3 != 0.0, sem="relaxed")
        tl.atomic_add(target + 4, a4, mask=(a4 != 0.0) & has_fifth, sem="relaxed")


@_kernel
def pair_sums(
    x_ptr,  # (P, S)
    z_ptr,  # (S,)
    size_ptr,  # (S,)
    upstream_ptr,  # (S,): upstream gradient of the cells; 0 in empty slots
    live_ptr,  # (S,): 1 for a cell, 0 in empty slots
    row_ptr,  # (n_blocks,): row of the per-batch tables
    values_ptr,  # grid (K, G), table (K, S) or direct (M, S)
    offset_ptr,  # (B, P), (1, P) or (P, S)
    dispersion_ptr,  # (B, P) or (1, P)
    logit_ptr,  # (P,) or (P, S)
    gene_ptr,  # (M,), and so are the next seven
    basis_ptr,
    group_ptr,
    edge_ptr,
    shift_ptr,
    scale_ptr,
    weight_ptr,
    pair_upstream_ptr,
    skip_ptr,  # (1,): whether there is nothing to do
    by_cell_ptr,  # out (1 or 3, n_chunks, S)
    by_pair_ptr,  # out (1 or 5, n_blocks, M)
    by_values_ptr,  # out, the shape of values; zero before the call
    by_logit_ptr,  # out (P, S), zero before the call
    by_offset_ptr,  # out (P, S), zero before the call
    lower,
    upper,
    inverse_step,
    floor,
    n_pairs,
    per_chunk,
    n_grid,
    offset_stride,  # P, or 0 for a table of one row or one entry for each cell
    dispersion_stride,
    FAMILY: tl.constexpr,
    KIND: tl.constexpr,
    GRADIENTS: tl.constexpr,
    UPSTREAM: tl.constexpr,
    OFFSET: tl.constexpr,
    DISPERSION: tl.constexpr,
    CELL_LOGITS: tl.constexpr,
    CELL_OFFSET: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums of log p (without its constant part) and of its gradients, for one block of cells.

    Pairs come in groups that share a basis and, up to less than one grid step, a shift. Within a
    group a cell meets at most five grid points, so the gradient of the grid is gathered in five
    registers and added to memory once per group.

    Rows of ``by_cell``: value; derivatives in z and in the log size factor. Rows of ``by_pair``:
    value; derivatives in the signal times basis value, in the shift, in the dispersion, and in
    the dropout logit (ZINB) or the location (Gaussian, Bernoulli).
    """
    block, chunk = tl.program_id(0), tl.program_id(1)
    if tl.load(skip_ptr) != 0:
        return
    n_slots = (tl.num_programs(0) * BLOCK).to(tl.int64)
    slot = block * BLOCK + tl.arange(0, BLOCK)
    live = tl.load(live_ptr + slot)
    upstream = tl.load(upstream_ptr + slot)
    z = tl.load(z_ptr + slot)
    size = tl.load(size_ptr + slot)
    row = tl.load(row_ptr + block)
    offset_ptr += row * offset_stride
    dispersion_ptr += row * dispersion_stride

    cell_value = tl.zeros((BLOCK,), tl.float32)
    cell_by_z = tl.zeros((BLOCK,), tl.float32)
    cell_by_size = tl.zeros((BLOCK,), tl.float32)
    a0 = tl.zeros((BLOCK,), tl.float32)
    a1 = tl.zeros((BLOCK,), tl.float32)
    a2 = tl.zeros((BLOCK,), tl.float32)
    a3 = tl.zeros((BLOCK,), tl.float32)
    a4 = tl.zeros((BLOCK,), tl.float32)
    base, last = tl.zeros((BLOCK,), tl.int32), n_grid - 3
    first = chunk * per_chunk
    current = tl.load(group_ptr + first) - 1
    home = tl.zeros((), tl.int64)  # where the row of the basis starts

    for m in range(first, tl.minimum(first + per_chunk, n_pairs)):
        gene = tl.load(gene_ptr + m).to(tl.int64)
        basis = tl.load(basis_ptr + m).to(tl.int64)
        scale = tl.load(scale_ptr + m)
        weight = tl.load(weight_ptr + m)
        x = tl.load(x_ptr + gene * n_slots + slot)
        dispersion, logit, offset = 1.0, 0.0, 0.0
        if DISPERSION:
            dispersion = tl.load(dispersion_ptr + gene)
        if FAMILY == "zinb":
            if CELL_LOGITS:
                logit = tl.load(logit_ptr + gene * n_slots + slot)
            else:
                logit = tl.load(logit_ptr + gene)
        if CELL_OFFSET:
            offset = tl.load(offset_ptr + gene * n_slots + slot)
        elif OFFSET:
            offset = tl.load(offset_ptr + gene)

        if KIND == "grid":
            if GRADIENTS:
                group = tl.load(group_ptr + m)
                if group != current:
                    if m > first:
                        target = by_values_ptr + home + (base - 1)
                        _flush(target, base < last, a0, a1, a2, a3, a4, KIND)
                    a0 = tl.zeros((BLOCK,), tl.float32)
                    a1 = tl.zeros((BLOCK,), tl.float32)
                    a2 = tl.zeros((BLOCK,), tl.float32)
                    a3 = tl.zeros((BLOCK,), tl.float32)
                    a4 = tl.zeros((BLOCK,), tl.float32)
                    edge = tl.load(edge_ptr + m)
                    base, _ = _grid_position(z + edge, lower, upper, inverse_step, n_grid)
                    home, current = basis * n_grid, group
            points = z + tl.load(shift_ptr + m)
            cell, t = _grid_position(points, lower, upper, inverse_step, n_grid)
            nodes = values_ptr + basis * n_grid + (cell - 1)
            b0, b1 = tl.load(nodes), tl.load(nodes + 1)
            b2, b3 = tl.load(nodes + 2), tl.load(nodes + 3)
            below, above = (t + 1.0) * t, (t - 1.0) * (t - 2.0)
            w0, w1 = -t * above * 0.16666667, (t + 1.0) * above * 0.5
            w2, w3 = below * (2.0 - t) * 0.5, below * (t - 1.0) * 0.16666667
            b = w0 * b0 + w1 * b1 + w2 * b2 + w3 * b3
        elif KIND == "table":
            if GRADIENTS:
                group = tl.load(group_ptr + m)
                if group != current:
                    if m > first:
                        target = by_values_ptr + home + slot
                        _flush(target, base < last, a0, a1, a2, a3, a4, KIND)
                    a0 = tl.zeros((BLOCK,), tl.float32)
                    home, current = basis * n_slots, group
            b = tl.load(values_ptr + basis * n_slots + slot)
        else:
            b = tl.load(values_ptr + m * n_slots + slot)

        signal = scale * b
        if FAMILY == "gaussian" or FAMILY == "bernoulli":
            location = signal + offset
            by_signal = tl.full((BLOCK,), 1.0, tl.float32)
        else:
            by_signal = size
            if OFFSET:
                by_signal *= tl.exp(offset)
            location = by_signal * signal + floor
        value, by_location, by_dispersion, by_logit = location_part(
            x, location, dispersion, logit, FAMILY
        )
        cell_value += weight * value
        pair = block.to(tl.int64) * n_pairs + m
        # Without an upstream gradient that of the cells is 1, and the weight of the pair a factor.
        tl.store(by_pair_ptr + pair, tl.sum(upstream * value, 0))
        if GRADIENTS:
            stride = tl.num_programs(0).to(tl.int64) * n_pairs
            if UPSTREAM:
                factor = weight * upstream + tl.load(pair_upstream_ptr + m) * live
                outer = 1.0
            else:
                factor, outer = live, weight
            by_signal *= factor * by_location
            by_scale = by_signal * b
            pair_ptr = by_pair_ptr + pair + stride
            tl.store(pair_ptr, outer * tl.sum(by_scale, 0))
            by_basis = (outer * scale) * by_signal
            cell_by_size += (outer * scale) * by_scale
            if CELL_OFFSET:
                if FAMILY == "gaussian" or FAMILY == "bernoulli":
                    by_offset = outer * factor * by_location
                else:
                    by_offset = (outer * scale) * by_scale
                tl.atomic_add(by_offset_ptr + gene * n_slots + slot, by_offset, sem="relaxed")
            if KIND == "grid":
                # Derivatives of the four weights add up to 0: differences lose fewer digits.
                slope = (t * (1.0 - 0.5 * t) - 0.33333333) * (b0 - b1)
                slope += (1.0 + t * (1.0 - 1.5 * t)) * (b2 - b1)
                slope += (0.5 * t * t - 0.16666667) * (b3 - b1)
                inside = (points >= lower) & (points <= upper)
                slope *= tl.where(inside, inverse_step, 0.0) * by_basis
                cell_by_z += slope
                tl.store(pair_ptr + stride, tl.sum(slope, 0))
                moved = cell > base
                a0 += tl.where(moved, 0.0, w0) * by_basis
                a1 += tl.where(moved, w0, w1) * by_basis
                a2 += tl.where(moved, w1, w2) * by_basis
                a3 += tl.where(moved, w2, w3) * by_basis
                a4 += tl.where(moved, w3, 0.0) * by_basis
            elif KIND == "table":
                a0 += by_basis
            else:
                tl.store(by_values_ptr + m * n_slots + slot, by_basis)
            if DISPERSION:
                total = tl.sum(factor * by_dispersion, 0)
                tl.store(pair_ptr + 2 * stride, outer * total)
            if FAMILY == "zinb":
                if CELL_LOGITS:
                    target_row = by_logit_ptr + gene * n_slots + slot
                    tl.atomic_add(target_row, outer * factor * by_logit, sem="relaxed")
                else:
                    tl.store(pair_ptr + 3 * stride, outer * tl.sum(factor * by_logit, 0))
            elif OFFSET and not CELL_OFFSET and (FAMILY == "gaussian" or FAMILY == "bernoulli"):
                tl.store(pair_ptr + 3 * stride, outer * tl.sum(factor * by_location, 0))

    cell_ptr = by_cell_ptr + chunk.to(tl.int64) * n_slots + slot
    tl.store(cell_ptr, cell_value)
    if GRADIENTS:
        stride = tl.num_programs(1).to(tl.int64) * n_slots
        tl.store(cell_ptr + stride, cell_by_z)
        tl.store(cell_ptr + 2 * stride, cell_by_size)
        if KIND == "grid":
            target = by_values_ptr + home + (base - 1)
            _flush(target, base < last, a0, a1, a2, a3, a4, KIND)
        elif KIND == "table":
            target = by_values_ptr + home + slot
            _flush(target, base < last, a0, a1, a2, a3, a4, KIND)


@_kernel
def gene_sums(
    x_ptr,  # (P, S)
    upstream_ptr,  # (S,)
    live_ptr,  # (S,)
    row_ptr,  # (n_blocks,)
    dispersion_ptr,  # (B, P) or (1, P)
    logit_ptr,  # (P,) or (P, S)
    weight_ptr,  # (P,)
    gene_upstream_ptr,  # (P,)
    by_cell_ptr,  # out (n_chunks, S)
    by_gene_ptr,  # out (1 or 3, n_blocks, P)
    by_logit_ptr,  # out (P, S)
    n_genes,
    per_chunk,
    dispersion_stride,
    FAMILY: tl.constexpr,
    GRADIENTS: tl.constexpr,
    CELL_LOGITS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums of the part of log p that no location enters, or of its gradients.

    Rows of ``by_gene``: value times upstream gradient of the cells; with gradients also the
    derivatives in θ and in the dropout logit.
    """
    block, chunk = tl.program_id(0), tl.program_id(1)
    n_slots = (tl.num_programs(0) * BLOCK).to(tl.int64)
    slot = block * BLOCK + tl.arange(0, BLOCK)
    live = tl.load(live_ptr + slot)
    upstream = tl.load(upstream_ptr + slot)
    dispersion_ptr += tl.load(row_ptr + block) * dispersion_stride
    stride = tl.num_programs(0).to(tl.int64) * n_genes
    cell_value = tl.zeros((BLOCK,), tl.float32)
    first = chunk * per_chunk
    for gene in range(first, tl.minimum(first + per_chunk, n_genes)):
        entry = gene * n_slots + slot
        x = tl.load(x_ptr + entry)
        theta, logit = tl.zeros_like(x) + 1.0, tl.zeros_like(x)
        if FAMILY != "poisson":
            theta *= tl.load(dispersion_ptr + gene)
        if FAMILY == "zinb":
            if CELL_LOGITS:
                logit = tl.load(logit_ptr + entry)
            else:
                logit += tl.load(logit_ptr + gene)
        value, by_theta, by_logit = constant_part(x, theta, logit, FAMILY)
        weight = tl.load(weight_ptr + gene)
        gene_ptr = by_gene_ptr + block.to(tl.int64) * n_genes + gene
        tl.store(gene_ptr, tl.sum(upstream * value, 0))
        if GRADIENTS:
            factor = weight * upstream + tl.load(gene_upstream_ptr + gene) * live
            tl.store(gene_ptr + stride, tl.sum(factor * by_theta, 0))
            if CELL_LOGITS:
                tl.store(by_logit_ptr + entry, factor * by_logit)
            else:
                tl.store(gene_ptr + 2 * stride, tl.sum(factor * by_logit, 0))
        else:
            cell_value += weight * value
    if not GRADIENTS:
        tl.store(by_cell_ptr + chunk.to(tl.int64) * n_slots + slot, cell_value)
