"""What int8 does before and after a product, in one pass over each row, compiled by Numba.

As torch's operations each step would read and write all rows again; here a row stays in the first
cache while it is rounded or scaled. A row's bits depend on nothing but that row. Compiled at first
use, for this machine's vectors.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_F32, _I32 = np.float32, np.int32
_STEPS = _F32(254)  # not 255: both ends are rounded, and what reached 256 would become 0
_TINY = _F32(1e-30)  # a row of zeros has a scale, too
_ALL_BUT_SIGN = _I32(0x7FFFFFFF)
# Their bits; those of a NaN are larger, and as `_order` has them, larger or smaller than both.
_INFINITY, _MINUS_INFINITY = _I32(0x7F800000), _I32(0xFF800000 - 2**32)
_HALF, _ONE = _F32(0.5), _F32(1)
_ROOT_OF_HALF = _F32(0.70710678)

# "contract" lets a product and a sum round once; what else fastmath allows would lose NaN.
_compiled = njit(nogil=True, error_model="numpy", fastmath={"contract"})
_inlined = njit(error_model="numpy", fastmath={"contract"}, inline="always")


@_inlined
def _order(bits: np.int32) -> np.int32:
    """An int32 that is ordered as the float32 with these bits is; its own inverse.

    LLVM makes vectors of the least and largest integer, of floats it does not.
    """
    return bits ^ ((bits >> _I32(31)) & _ALL_BUT_SIGN)


@_inlined
def _erf(x: np.float32) -> np.float32:
    """The error function, to 5e-7: a ratio of polynomials, as Eigen has it (MPL 2.0)."""
    x = x if x < _F32(4) else _F32(4)
    x = x if x > _F32(-4) else _F32(-4)
    t = x * x
    above = t * _F32(-2.72614225801306e-10) + _F32(2.77068142495902e-08)
    above = above * t + _F32(-2.10102402082508e-06)
    above = above * t + _F32(-5.69250639462346e-05)
    above = above * t + _F32(-7.34990630326855e-04)
    above = above * t + _F32(-2.95459980854025e-03)
    above = above * t + _F32(-1.60960333262415e-02)
    below = t * _F32(-1.45660718464996e-05) + _F32(-2.13374055278905e-04)
    below = below * t + _F32(-1.68282697438203e-03)
    below = below * t + _F32(-7.37332916720468e-03)
    below = below * t + _F32(-1.42647390514189e-02)
    return x * above / below


@_compiled
def round_rows(
    x: np.ndarray,
    rounded: np.ndarray,
    scales: np.ndarray,
    zero_points: np.ndarray,
) -> None:
    """Round rows to uint8: x is about (rounded - zero_point) * scale.

    Args:
      x: float32 [rows, features], contiguous.
      rounded: uint8 [rows, features], to be filled.
      scales: float32 [rows], to be filled; NaN where the row has a value that is not finite.
      zero_points: float32 [rows], to be filled: whole numbers, what 0 became.
    """
    bits = x.view(np.int32)
    ends = np.zeros(2, np.int32)
    for row in range(x.shape[0]):
        low, high = _I32(0), _I32(0)
        for i in range(x.shape[1]):
            place = _order(bits[row, i])
            low, high = min(low, place), max(high, place)
        if high >= _INFINITY or low <= _order(_MINUS_INFINITY):
            rounded[row, :] = 0
            scales[row], zero_points[row] = np.nan, 0
            continue
        ends[0], ends[1] = _order(low), high
        least, largest = ends.view(np.float32)
        scale = max((largest - least) / _STEPS, _TINY)
        factor = _ONE / scale
        zero_point = np.floor(_HALF - least * factor)
        for i in range(x.shape[1]):
            value = x[row, i] * factor + (zero_point + _HALF)
            rounded[row, i] = np.uint8(_I32(value))
        scales[row], zero_points[row] = scale, zero_point


@_compiled
def rescale_rows(
    y: np.ndarray,
    scales: np.ndarray,
    zero_points: np.ndarray,
    bias: np.ndarray,
    sums: np.ndarray,
    gelu: bool,
) -> None:
    """Turn products of rounded rows into those of the rows themselves, in place.

    Args:
      y: float32 [rows, features], rounded x weight^T.
      scales: float32 [rows].
      zero_points: float32 [rows].
      bias: float32 [features].
      sums: float32 [features], what a row of ones would give.
      gelu: apply it, too.
    """
    for row in range(y.shape[0]):
        scale = scales[row]
        shift = -scale * zero_points[row]
        if gelu:
            for i in range(y.shape[1]):
                value = y[row, i] * scale + (sums[i] * shift + bias[i])
                y[row, i] = _HALF * value * (_ONE + _erf(value * _ROOT_OF_HALF))
        else:
            for i in range(y.shape[1]):
                y[row, i] = y[row, i] * scale + (sums[i] * shift + bias[i])
