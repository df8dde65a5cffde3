"""Whether a version's manifest and its ONNX file say the same; pure, over the names, types and shapes that
the runtime reports."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import HeadgateError
from serving.repository import Input, Package, line_of

_NAMES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's words for types, where they are not numpy's."""


class Tensor(NamedTuple):
    """An input or output as ONNX Runtime reports it: `tensor(float)`, [None or a name or a number, …]."""

    name: str
    type: str
    shape: Sequence[int | str | None]

    @property
    def dtype(self) -> str:
        """The element type as numpy calls it."""
        match = re.fullmatch(r"tensor\((\w+)\)", self.type)
        return _NAMES.get(match[1], match[1]) if match else self.type


def check(package: Package, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raises `HeadgateError` for the first input or output that the manifest and the ONNX file do not agree
    on."""
    declared = package.manifest.inputs
    if not inputs:
        raise HeadgateError(f"{package.onnx}: found no inputs, expected at least one with a row an item")
    for tensor in inputs:
        if tensor.name not in declared:
            raise _mistake(
                package,
                ["inputs"],
                f"inputs: found no {tensor.name!r}, expected one: {package.onnx.name} needs it",
            )
        _check_input(package, tensor, declared[tensor.name])
    for name in declared.keys() - {tensor.name for tensor in inputs}:
        names = ", ".join(tensor.name for tensor in inputs) or "none"
        raise _mistake(
            package,
            ["inputs", name],
            f"inputs.{name}: found in the manifest, but {package.onnx.name} has {names}",
        )
    _check_output(package, outputs)


def _check_input(package: Package, tensor: Tensor, declared: Input) -> None:
    place = f"inputs.{tensor.name}"
    if tensor.dtype != declared.dtype:
        where = ["inputs", tensor.name, "dtype"]
        raise _mistake(
            package,
            where,
            f"{place}.dtype: found {declared.dtype}, expected {tensor.dtype} as in {package.onnx.name}",
        )
    shape = list(tensor.shape)
    if not shape or isinstance(shape[0], int):
        raise HeadgateError(
            f"{package.onnx}: input {tensor.name}: found shape {shape}, expected a free first dimension: "
            "the rows of many requests run together"
        )
    fits = len(shape) == len(declared.shape) and all(
        not isinstance(size, int) or size == row for size, row in zip(shape[1:], declared.row, strict=True)
    )
    if not fits:
        where = ["inputs", tensor.name, "shape"]
        raise _mistake(
            package,
            where,
            f"{place}.shape: found {declared.shape}, expected {shape} as in {package.onnx.name}",
        )


def _check_output(package: Package, outputs: Sequence[Tensor]) -> None:
    name = package.manifest.output.name
    found = next((tensor for tensor in outputs if tensor.name == name), None)
    if found is None:
        names = ", ".join(tensor.name for tensor in outputs)
        raise _mistake(
            package,
            ["output", "name"],
            f"output.name: found {name!r}, expected one of {package.onnx.name}: {names}",
        )
    one_a_row = len(found.shape) == 1 or (len(found.shape) == 2 and found.shape[1] in (1, None))
    if not one_a_row or isinstance(found.shape[0], int) or not found.dtype.startswith("float"):
        raise HeadgateError(
            f"{package.onnx}: output {name}: found {found.dtype} {list(found.shape)}, "
            "expected floats, one a row: [rows] or [rows, 1]"
        )


def _mistake(package: Package, path: Sequence[str], what: str) -> HeadgateError:
    line = line_of(package.toml.read_text(encoding="utf-8"), path)
    return HeadgateError(f"{package.toml}:{line}: {what}")
