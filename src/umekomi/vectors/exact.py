"""Products of vectors and matrices without rounding errors.

The last bits of an ordinary product depend on the number of rows, the number of threads and the CPU, because these change the
order of the sums. Here the values of both factors are multiples of a power of two, the factor's step. The steps are so large that
each sum of products is an integer below 2**53 times both steps. float64 represents it exactly, so the order does not matter.
"""

from __future__ import annotations

import numpy as np

from .arithmetic import DoubleArray, FloatArray

_BITS = 52
"""One less than the precision of float64, because rounding may lengthen a vector."""


def round_to(values: FloatArray | DoubleArray, step: float) -> DoubleArray:
    """Round values to multiples of a step, which is a power of two."""
    rounded: DoubleArray = np.rint(values.astype(np.float64) / step) * step
    return rounded


def multiply_exactly(vectors: FloatArray | DoubleArray, matrix: DoubleArray, step: float) -> DoubleArray:
    """Round vectors to multiples of a step and multiply them by a matrix: ``(n, dims), (dims, m) -> (n, m) float64``.

    The result is exact if the values of the matrix are multiples of :func:`matrix_step` or of a larger power of two.
    """
    product: DoubleArray = round_to(vectors, step) @ matrix
    return product


def matrix_step(matrix: FloatArray | DoubleArray, vector_step: float, max_length: float = 1.0) -> float:
    """Return the smallest step of a matrix for exact products with vectors of at most ``max_length``.

    A sum of products is at most the length of the vector times that of the matrix's column (Cauchy-Schwarz).
    """
    longest = float(np.sqrt(np.einsum("ij,ij->j", matrix, matrix, dtype=np.float64).max(initial=0.0)))
    return next_power(max_length * longest) * 2.0**-_BITS / vector_step


def next_power(value: float) -> float:
    """Return the smallest power of two that is not below a value, or 1 for 0.

    >>> next_power(5.0), next_power(0.25)
    (8.0, 0.25)
    """
    return float(2.0 ** np.ceil(np.log2(value))) if value > 0.0 else 1.0
