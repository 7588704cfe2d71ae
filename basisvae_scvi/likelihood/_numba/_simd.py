"""Single-precision logarithm and exponential that LLVM turns into vector instructions.

Calls of a mathematics library stop the vectoriser; these are plain arithmetic on the bits of the
numbers. The polynomials are those of the Cephes library (Moshier), good to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ._cache import keep_on_disk

# Sums may be reordered, so that they can be done in vector lanes. What is inlined into such a loop
# is reordered as well: the functions below bear it, as the tests show for all magnitudes of their
# arguments, because whatever must not be rounded is handed to them apart.
REORDER = {"contract", "reassoc", "nsz"}
# For loops without sums whose order of operations matters.
STRICT = {"contract"}


def compiled(*, allocates: bool = False, **options) -> Callable:
    """``numba.njit`` without the interpreter lock, on disk where there is a place for it.

    Parameters
    ----------
    allocates
        Whether the function makes arrays. All others work on arrays that their caller holds, and
        do not count references: the counts of all views took longer than the arithmetic.
    **options
        Passed on to :func:`numba.njit`.
    """
    options = {"nogil": True, "error_model": "numpy", **options}
    if not allocates:
        options["_nrt"] = False
        # Into one function each: of two copies of a callee, optimised with different callers, the
        # linker takes the one it saw first, and code from disk would round otherwise than new.
        options["forceinline"] = True

    def decorate(function: Callable) -> Callable:
        dispatcher = njit(**options)(function)
        keep_on_disk(dispatcher)
        return dispatcher

    return decorate


_BITS, _FLOAT = ir.IntType(32), ir.FloatType()
_MANTISSA_BITS, _EXPONENT_BIAS, _ROOT_HALF = 23, 127, 0x3F3504F3


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_BITS, value)


def _exponent(builder, number):
    """Exponent of the number when the mantissa is in [√½, √2)."""
    distance = builder.sub(builder.bitcast(number, _BITS), _constant(_ROOT_HALF))
    return builder.ashr(distance, _constant(_MANTISSA_BITS))


# Written as LLVM instructions, because numba widens 32-bit integers to 64 bits.
@intrinsic
def exponent_of(typing_context, number):
    """e of a positive normal number m · 2^e with m in [√½, √2), as a float."""

    def generate(context, builder, signature, arguments):
        exponent = _exponent(builder, arguments[0])
        return builder.sitofp(exponent, _FLOAT)

    return types.float32(types.float32), generate


@intrinsic
def mantissa_of(typing_context, number):
    """M of a positive normal number m · 2^e with m in [√½, √2); NaN of NaN."""

    def generate(context, builder, signature, arguments):
        exponent = _exponent(builder, arguments[0])
        biased = builder.sub(_constant(_EXPONENT_BIAS), exponent)
        power = builder.bitcast(builder.shl(biased, _constant(_MANTISSA_BITS)), _FLOAT)
        return builder.fmul(arguments[0], power)

    return types.float32(types.float32), generate


@intrinsic
def truncated(typing_context, number):
    """The number without its decimals."""

    def generate(context, builder, signature, arguments):
        return builder.sitofp(builder.fptosi(arguments[0], _BITS), _FLOAT)

    return types.float32(types.float32), generate


@intrinsic
def power_of_two(typing_context, exponent):
    """2^e for a whole number e in [−126, 127], given as a float."""

    def generate(context, builder, signature, arguments):
        whole = builder.fptosi(arguments[0], _BITS)
        biased = builder.add(whole, _constant(_EXPONENT_BIAS))
        return builder.bitcast(builder.shl(biased, _constant(_MANTISSA_BITS)), _FLOAT)

    return types.float32(types.float32), generate


def single(value: float) -> np.float32:
    """A constant that does not turn single precision into double."""
    return np.float32(value)


ZERO, HALF, ONE, TWO = single(0.0), single(0.5), single(1.0), single(2.0)


class Coefficients(NamedTuple):
    """Numbers of the functions below, which a loop gets as values rather than as constants.

    The compiler fetches a constant anew for every vector, by two instructions each, a quarter of
    all. A value that it does not know stays where the arithmetic can reach it.

    Attributes
    ----------
    log
        Of the powers in (log(1 + w) − w + w² / 2) / w³, the lowest first, for w in [√½ − 1,
        √2 − 1); then log 2.
    exp
        Of the powers from the second on of exp(w) for |w| ≤ ½ log 2; then 1 / log 2, and log 2 in
        two parts.
    log1p
        Of the powers in log(1 + w) / w for w in [0, 1]: the polynomial through its values at
        Chebyshev's points.
    """

    log: tuple[np.float32, ...]
    exp: tuple[np.float32, ...]
    log1p: tuple[np.float32, ...]


_LOG = (
    3.3333331174e-1,
    -2.4999993993e-1,
    2.0000714765e-1,
    -1.6668057665e-1,
    1.4249322787e-1,
    -1.2420140846e-1,
    1.1676998740e-1,
    -1.1514610310e-1,
    7.0376836292e-2,
    0.6931471805599453,
)
_EXP = (
    5.0000001201e-1,
    1.6666665459e-1,
    4.1665795894e-2,
    8.3334519073e-3,
    1.3981999507e-3,
    1.9875691500e-4,
    1.44269504088896341,
    0.693359375,
    -2.12194440e-4,
)
_LOG1P = (
    1.0,
    -0.49999502301216125,
    0.33319270610809326,
    -0.24844369292259216,
    0.19111430644989014,
    -0.13674770295619965,
    0.07836166769266129,
    -0.02958850748836994,
    0.005253457929939032,
)
COEFFICIENTS = np.array([*_LOG, *_EXP, *_LOG1P], np.float32)
_EXP_FLOOR = single(-87.0)


@compiled()
def load_coefficients(memory, k):
    """:class:`Coefficients` from an array that has :data:`COEFFICIENTS` from place ``k`` on."""
    c = memory[k:]
    return Coefficients(
        (c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9]),
        (c[10], c[11], c[12], c[13], c[14], c[15], c[16], c[17], c[18]),
        (c[19], c[20], c[21], c[22], c[23], c[24], c[25], c[26], c[27]),
    )


@njit(inline="always")
def log_parts(coefficients, ratio, excess):
    """log(ratio) in three parts that sum to it: far, near and curved.

    ``excess`` is ratio − 1, given to the last digit, since the ratio itself has been rounded. For
    a ratio in [√½, √2) the far part is 0, the near part is the excess, and the curved part is
    log(1 + excess) − excess without cancellation.
    """
    c = coefficients.log
    exponent = exponent_of(ratio)
    near = excess if exponent == ZERO else mantissa_of(ratio) - ONE
    # Estrin's scheme: short chains of dependent instructions, which a processor can overlap.
    square = near * near
    fourth = square * square
    low = (c[0] + c[1] * near) + (c[2] + c[3] * near) * square
    high = (c[4] + c[5] * near) + (c[6] + c[7] * near) * square
    p = low + (high + c[8] * fourth) * fourth
    curved = square * (near * p - HALF)
    return exponent * c[9], near, curved


@njit(inline="always")
def exp_of_negative(coefficients, value):
    """exp(value) for value ≤ 0; below −87 that of −87, which is 1e-38."""
    c = coefficients.exp
    value = _EXP_FLOOR if value < _EXP_FLOOR else value
    whole = truncated(value * c[6] - HALF)
    rest = (value - whole * c[7]) - whole * c[8]
    square = rest * rest
    q = (c[0] + c[1] * rest) + ((c[2] + c[3] * rest) + (c[4] + c[5] * rest) * square) * square
    return (q * square + rest + ONE) * power_of_two(whole)


@njit(inline="always")
def log1p_of_unit(coefficients, value):
    """log(1 + value) for value in [0, 1], to 2e-7 of itself."""
    c = coefficients.log1p
    square = value * value
    fourth = square * square
    low = (c[0] + c[1] * value) + (c[2] + c[3] * value) * square
    high = (c[4] + c[5] * value) + (c[6] + c[7] * value) * square
    return value * (low + (high + c[8] * fourth) * fourth)
