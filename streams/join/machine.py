"""What the scanners need of the machine and numba has no word for: unaligned loads, 128-bit products, bit
tricks.

Addresses are integers (`address`), so that what is called in inner loops carries no array; the caller keeps
the array alive, and checks bounds. Little-endian machines only, as all that numba supports are.
"""

from collections.abc import Callable
from typing import TypeAlias, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.base import BaseContext
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

Builder: TypeAlias = ir.IRBuilder
Emit = Callable[[BaseContext, Builder, Signature, list[ir.Value]], ir.Value]
Function = TypeVar("Function", bound=Callable[..., object])

_INT64 = ir.IntType(64)
_WIDE = ir.IntType(128)


def _typed(_like: Function) -> Callable[[Callable[..., object]], Function]:
    """Makes an intrinsic of what emits it, with the Python signature of `_like`."""
    return lambda emitter: cast(Function, intrinsic(emitter))


def constant(value: int) -> int:
    """An integer to be frozen into compiled functions as any other int64: of a literal, numba would compile
    what it is passed to once more.
    """
    return cast(int, np.int64(value))


def _like_address(data: NDArray[np.generic]) -> int: ...  # type: ignore[empty-body]
def _like_load(base: int, at: int) -> int: ...  # type: ignore[empty-body]
def _like_word(base: int, at: int) -> np.uint64: ...  # type: ignore[empty-body]
def _like_bits(value: np.uint64) -> int: ...  # type: ignore[empty-body]
def _like_product(a: np.uint64, b: np.uint64) -> np.uint64: ...  # type: ignore[empty-body]
def _like_store(base: int, index: int, value: np.uint64) -> None: ...
def _like_store_float(base: int, index: int, value: float) -> None: ...
def _like_float(bits: np.uint64) -> float: ...  # type: ignore[empty-body]


def _load(width: int) -> Emit:
    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        base, at = args
        place = builder.inttoptr(builder.add(base, at), ir.IntType(width).as_pointer())
        found = builder.load(place, align=1)
        return found if width == 64 else builder.zext(found, _INT64)

    return emit


def _store(width: ir.Type) -> Emit:
    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        base, index, value = args
        place = builder.add(base, builder.shl(index, ir.Constant(_INT64, 3)))
        builder.store(value, builder.inttoptr(place, width.as_pointer()), align=8)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # numba's word for nothing

    return emit


@_typed(_like_address)
def address(_typing: object, data: types.Array) -> tuple[Signature, Emit]:
    """Where an array's first byte lies in memory."""

    def emit(context: BaseContext, builder: Builder, signature: Signature, args: list[ir.Value]) -> ir.Value:
        array = context.make_array(signature.args[0])(context, builder, args[0])  # type: ignore[no-untyped-call]
        return builder.ptrtoint(array.data, _INT64)

    return types.int64(data), emit


@_typed(_like_load)
def byte(_typing: object, _base: types.Type, _at: types.Type) -> tuple[Signature, Emit]:
    """The byte at `base + at`."""
    return types.int64(types.int64, types.int64), _load(8)


@_typed(_like_word)
def half(_typing: object, _base: types.Type, _at: types.Type) -> tuple[Signature, Emit]:
    """The four bytes from `base + at` on, the first in the lowest place."""
    return types.uint64(types.int64, types.int64), _load(32)


@_typed(_like_word)
def word(_typing: object, _base: types.Type, _at: types.Type) -> tuple[Signature, Emit]:
    """The eight bytes from `base + at` on, the first in the lowest place."""
    return types.uint64(types.int64, types.int64), _load(64)


@_typed(_like_store)
def store(
    _typing: object, _base: types.Type, _index: types.Type, _value: types.Type
) -> tuple[Signature, Emit]:
    """Puts an integer into the array of 64-bit integers at `base`."""
    return types.void(types.int64, types.int64, types.uint64), _store(_INT64)


@_typed(_like_store_float)
def store_float(
    _typing: object, _base: types.Type, _index: types.Type, _value: types.Type
) -> tuple[Signature, Emit]:
    """Puts a number into the array of doubles at `base`."""
    return types.void(types.int64, types.int64, types.float64), _store(ir.DoubleType())


@_typed(_like_bits)
def trailing_zeros(_typing: object, _value: types.Type) -> tuple[Signature, Emit]:
    """Zeros below the lowest bit that is set; 64 for 0."""

    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        return builder.cttz(args[0], cgutils.false_bit)

    return types.int64(types.uint64), emit


@_typed(_like_bits)
def leading_zeros(_typing: object, _value: types.Type) -> tuple[Signature, Emit]:
    """Zeros above the highest bit that is set; 64 for 0."""

    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        return builder.ctlz(args[0], cgutils.false_bit)

    return types.int64(types.uint64), emit


@_typed(_like_product)
def high_product(_typing: object, _a: types.Type, _b: types.Type) -> tuple[Signature, Emit]:
    """The upper 64 bits of the 128 of `a * b`."""

    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        a, b = (builder.zext(arg, _WIDE) for arg in args)
        return builder.trunc(builder.lshr(builder.mul(a, b), ir.Constant(_WIDE, 64)), _INT64)

    return types.uint64(types.uint64, types.uint64), emit


@_typed(_like_bits)
def signed(_typing: object, _value: types.Type) -> tuple[Signature, Emit]:
    """The same bits as a signed integer."""

    def emit(
        _context: BaseContext, _builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        return args[0]

    return types.int64(types.uint64), emit


@_typed(_like_float)
def float_of(_typing: object, _bits: types.Type) -> tuple[Signature, Emit]:
    """The double with these bits."""

    def emit(
        _context: BaseContext, builder: Builder, _signature: Signature, args: list[ir.Value]
    ) -> ir.Value:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), emit
