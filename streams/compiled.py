"""Loops over columns, compiled by numba: written record by record, as the rules are, and run as machine code.

Compiled functions take arrays and numbers only, run without the interpreter's lock, and are kept on disk: the
first process on a machine compiles them (`make setup` does), the others load them.
"""

import re
import sys
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., object])

_INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}

_IMPORT = re.compile(r"^from ((?:streams|schemas)[\w.]*) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)

_kept = Path(config.CACHE_DIR or Path(__file__).parent / "__pycache__")  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """The function, to be compiled when it is first called."""
    _keep(function)
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def inner(function: Function) -> Function:
    """A function that only compiled functions call, and that makes no arrays: it compiles in a fraction of
    the time, for it needs no way in from Python, and counts no references.
    """
    _keep(function)
    return cast(Function, numba.njit(cache=True, nogil=True, error_model="numpy", **_INNER)(function))


def inlined(function: Function) -> Function:
    """An inner function that is laid into each that calls it: for the small and much used."""
    _keep(function)
    njit = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True, **_INNER)
    return cast(Function, njit(function))


def _keep(function: Callable[..., object]) -> None:
    """Says where numba keeps the function that it gets next: in a folder named by all sources that may be in
    the machine code. By itself numba looks at the function's own file alone, and would go on with what
    that called, and with constants, as they once were in others.
    """
    config.CACHE_DIR = str(_kept / _digest(function.__module__))  # type: ignore[attr-defined]


@cache
def _digest(module: str) -> str:
    """Of the module's source and those of ours that it imports, and so on."""
    sources: dict[str, str] = {}
    left = [module]
    while left:
        name = left.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in sources or file is None:
            continue
        sources[name] = Path(file).read_text("utf-8")
        for package, several, one in _IMPORT.findall(sources[name]):
            left += [package, *(f"{package}.{each}" for each in re.findall(r"\w+", several or one))]
    return blake2b("".join(sources[name] for name in sorted(sources)).encode(), digest_size=8).hexdigest()
