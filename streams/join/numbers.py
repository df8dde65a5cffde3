"""Numbers of JSON, where they lie: read exactly, as Python's `int` and `float` read them.

Decimal to binary: Clinger's short cut where both mantissa and power of ten are exact in a double, else the
algorithm of Eisel and Lemire (Lemire, "Number parsing at a gigabyte per second", Software: Practice and
Experience 51, 2021), which with a table of 128-bit powers needs no fallback for mantissas of up to 64 bits
(Mushtak and Lemire, "Fast number parsing without fallback", Software: Practice and Experience 53, 2023).
Constants are those of a double: 53 bits, bias 1023.
"""

import numpy as np
from numpy.typing import NDArray

from streams.columns import Bytes
from streams.compiled import compiled, inlined, inner
from streams.join.machine import (
    address,
    byte,
    float_of,
    high_product,
    leading_zeros,
    signed,
    trailing_zeros,
    word,
)

DIGITS = 19
"""So many decimal digits fit into 64 bits."""

SAFE = 280
"""Times this power of ten any mantissa is finite as a double."""

_LEAST, _MOST = -342, 308
"""Below 10^_LEAST a mantissa of 64 bits is 0 as a double, above 10^_MOST infinite."""


def _powers() -> NDArray[np.uint64]:
    """The leading 128 bits of 5^q from q = _LEAST to _MOST, as [upper, lower]; of a reciprocal rounded up,
    else down.
    """
    rows = []
    for q in range(_LEAST, _MOST + 1):
        power: int = 5 ** abs(q)
        if q >= 0:
            bits = power << 128 >> power.bit_length()
        else:
            bits = (1 << 127 + power.bit_length()) // power + 1
            bits >>= bits.bit_length() - 128
        rows.append((bits >> 64, bits & ((1 << 64) - 1)))
    return np.array(rows, np.uint64)


_POWERS = _powers()
_TENS = np.array([float(10**q) for q in range(23)])
"""The powers of ten that are exact in a double."""

_INTEGER_TENS = np.array([10**q for q in range(9)], np.uint64)

_EXACT = np.uint64(1 << 53)

_U0 = np.uint64(0)
_U1 = np.uint64(1)
_U3 = np.uint64(3)
_U10 = np.uint64(10)
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGHS = np.uint64(0x8080808080808080)
_PRECISION = np.uint64((1 << 64) - 1 >> 55)
_HIDDEN = np.uint64(1 << 52)


@inlined
def _others(eight: np.uint64) -> np.uint64:
    """The high bit of each byte that is no digit; above the first such byte there may be others."""
    values = eight ^ _ZEROS
    return ((values + _ABOVE_NINE) | values) & _HIGHS


@inlined
def _eight(values: np.uint64) -> np.uint64:
    """The number whose digits are these bytes, the first in the lowest: pairs, then fours, then all."""
    values = values * _U10 + (values >> np.uint64(8))
    lower = (values & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    upper = ((values >> np.uint64(16)) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    return (lower + upper) >> np.uint64(32)


@inlined
def digits(base: int, at: int, end: int, before: np.uint64) -> tuple[int, np.uint64]:
    """Reads digits: (where they end, `before` with them behind it, modulo 2^64)."""
    value = before
    while at + 8 <= end:
        eight = word(base, at)
        others = _others(eight)
        length = trailing_zeros(others) >> 3
        if length == 0:
            return at, value
        unused = np.uint64(64 - 8 * length)
        value = value * _INTEGER_TENS[length] + _eight((eight << unused) - (_ZEROS << unused))
        at += length
        if length < 8:
            return at, value
    while at < end:
        digit = byte(base, at) - 48
        if digit < 0 or digit > 9:
            break
        value = value * _U10 + np.uint64(digit)
        at += 1
    return at, value


@inlined
def decimal(base: int, at: int, end: int) -> tuple[int, bool, np.uint64, int]:
    """Reads a JSON number: (where it ends, is it negative, its mantissa, its power of ten).

    The end is -1 where there is no number, or one of more significant digits than fit (`DIGITS`), or with a
    power of ten of more than four digits.
    """
    negative = at < end and byte(base, at) == 45
    if negative:
        at += 1
    start = at
    at, mantissa = digits(base, at, end, _U0)
    whole = at - start
    if whole == 0 or (whole > 1 and byte(base, start) == 48):
        return -1, negative, mantissa, 0
    power = 0
    if at < end and byte(base, at) == 46:
        point = at + 1
        at, mantissa = digits(base, point, end, mantissa)
        power = point - at
        if power == 0:
            return -1, negative, mantissa, 0
    if whole - power > DIGITS and not _fits(base, start, at):
        return -1, negative, mantissa, 0
    if at < end and byte(base, at) | 32 == 101:
        at += 1
        sign = 1
        if at < end and (byte(base, at) == 43 or byte(base, at) == 45):
            sign = 44 - byte(base, at)
            at += 1
        first = at
        at, exponent = digits(base, at, end, _U0)
        if at == first or at - first > 4:
            return -1, negative, mantissa, 0
        power += sign * signed(exponent)
    return at, negative, mantissa, power


@inner
def _fits(base: int, at: int, end: int) -> bool:
    """Has a number few enough digits, if zeros in front do not count?"""
    while at < end and (byte(base, at) == 48 or byte(base, at) == 46):
        at += 1
    return end - at <= DIGITS


@inlined
def double(negative: bool, mantissa: np.uint64, power: int) -> float:
    """The double nearest to ±mantissa · 10^power, ties to even; infinite beyond the largest."""
    if mantissa <= _EXACT and -22 <= power <= 22:
        found = float(mantissa)
        if power < 0:
            found /= _TENS[-power]
        else:
            found *= _TENS[power]
    else:
        found = float_of(_nearest(mantissa, power))
    return -found if negative else found


@inner
def _nearest(mantissa: np.uint64, power: int) -> np.uint64:
    """The bits of the double nearest to mantissa · 10^power (see the papers above; names are theirs)."""
    if mantissa == _U0 or power < _LEAST:
        return _U0
    if power > _MOST:
        return np.uint64(0x7FF) << np.uint64(52)
    zeros = leading_zeros(mantissa)
    w = mantissa << np.uint64(zeros)
    upper, lower = _POWERS[power - _LEAST, 0], _POWERS[power - _LEAST, 1]
    high, low = high_product(w, upper), w * upper
    if high & _PRECISION == _PRECISION:  # the lower half of the power may carry into what is kept
        second = high_product(w, lower)
        low += second
        if second > low:
            high += _U1
    top = signed(high >> np.uint64(63))
    shift = np.uint64(top + 9)
    m = high >> shift
    exponent = ((217_706 * power) >> 16) + 63 + top - zeros + 1_023
    if exponent <= 0:  # subnormal
        if 1 - exponent >= 64:
            return _U0
        m >>= np.uint64(1 - exponent)
        return (m + (m & _U1)) >> _U1  # carried into bit 52 it is the smallest normal double
    halfway = low <= _U1 and -4 <= power <= 23 and m & _U3 == _U1
    if halfway and (m << shift) == high:
        m -= _U1  # ties go to even
    m = (m + (m & _U1)) >> _U1
    if m >= np.uint64(1 << 53):
        m = _HIDDEN
        exponent += 1
    if exponent >= 0x7FF:
        return np.uint64(0x7FF) << np.uint64(52)
    return (m & ~_HIDDEN) | (np.uint64(exponent) << np.uint64(52))


@compiled
def number(data: Bytes, start: int, end: int) -> float:
    """The double that the JSON number data[start:end] writes, as Python's `float` reads it.

    NaN where that is no number, or one of more than 19 significant digits, which no double's shortest form
    has.
    """
    at, negative, mantissa, power = decimal(address(data), start, end)
    return double(negative, mantissa, power) if at == end else np.nan
