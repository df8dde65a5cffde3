"""One argument for many arrays: compiled code takes a `State` as a single address, and finds the arrays
behind it.

numba would hand a tuple of fifty arrays to every function as three hundred numbers, and take minutes to
compile that. Here `state.visits` loads where the array is and how long, when it is asked for. Nothing is
counted: whoever made the arrays keeps them while compiled code runs.
"""

# mypy: disable-error-code="misc, no-untyped-call, untyped-decorator, override"
# numba has no types for those who extend it.

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, models, register_model, unbox
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

WIDTH = 4
"""Numbers about each array: its address, and up to three lengths."""


class Fields:
    """Which arrays there are: name, dtype, dimensions. Fixed when code is compiled."""

    def __init__(self, **fields: tuple[npt.DTypeLike, int]) -> None:
        self.places = {name: WIDTH * i for i, name in enumerate(fields)}
        self.dtypes = {name: np.dtype(d) for name, (d, _) in fields.items()}
        self.types = {
            name: types.Array(from_dtype(self.dtypes[name]), n, "C") for name, (_, n) in fields.items()
        }


class Arrays:
    """Arrays by name, as attributes, in Python as in compiled code. Subclasses say which, in `fields`."""

    fields: Fields
    _numba_type_: "ArraysType"
    """Where numba looks first for the type of an argument; all else that it would try takes 10 µs a call."""

    def __init_subclass__(cls) -> None:
        if "fields" in cls.__dict__:
            cls._numba_type_ = ArraysType(cls)

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._where = np.zeros(WIDTH * len(self.fields.places), np.int64)
        self.address = int(self._where.ctypes.data)
        for name in self.fields.places:
            self.put(name, arrays[name])

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """Replaces an array by another of its dtype and dimensions."""
        expected = self.fields.types[name]
        if (
            array.dtype != self.fields.dtypes[name]
            or array.ndim != expected.ndim
            or not array.flags.c_contiguous
        ):
            raise TypeError(f"{name}: found {array.dtype}, {array.ndim} dimensions, expected {expected}")
        place = self.fields.places[name]
        self._where[place] = array.ctypes.data
        self._where[place + 1 : place + 1 + array.ndim] = array.shape
        setattr(self, name, array)

    def drop(self, name: str) -> None:
        """Lets go of an array that is to be replaced."""
        delattr(self, name)


class ArraysType(types.Type):
    """`Arrays` in compiled code."""

    def __init__(self, class_: type[Arrays]) -> None:
        self.fields = class_.fields
        super().__init__(name=f"{class_.__module__}.{class_.__qualname__}")


@register_model(ArraysType)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, type_: Any) -> None:
        super().__init__(manager, type_, ir.IntType(64))


@unbox(ArraysType)
def _unbox(_type: object, value: Any, context: Any) -> NativeValue:
    address = context.pyapi.object_getattr_string(value, "address")
    number = context.pyapi.long_as_longlong(address)
    context.pyapi.decref(address)
    return NativeValue(number, is_error=cgutils.is_not_null(context.builder, context.pyapi.err_occurred()))


@infer_getattr
class _Attributes(AttributeTemplate):
    key = ArraysType

    def generic_resolve(self, type_: ArraysType, name: str) -> Any:
        return type_.fields.types.get(name)


@lower_getattr_generic(ArraysType)
def _load(context: Any, builder: Any, type_: ArraysType, value: Any, name: str) -> Any:
    array_type = type_.fields.types[name]
    array = context.make_array(array_type)(context, builder)
    word = context.get_value_type(types.intp)
    start = builder.inttoptr(value, word.as_pointer())

    def number(i: int) -> Any:
        return builder.load(builder.gep(start, [ir.Constant(word, type_.fields.places[name] + i)]))

    shape = [number(1 + i) for i in range(array_type.ndim)]
    width = ir.Constant(word, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    strides = [width]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.inttoptr(number(0), context.get_data_type(array_type.dtype).as_pointer())
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=width, meminfo=None)
    return array._getvalue()
