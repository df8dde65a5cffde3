"""Arrays that grow in place: each has pages of its own from the system, which become memory when they are
written to, move without being copied (mremap), and are given back at once.

From the heap, growing would copy everything, and what was let go would stay with the process.
"""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def _pages(length: int) -> mmap.mmap:
    # Private: pages that are shared have an end of their own, which moving them does not change.
    return mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Column:
    """An array of zeros, `rows` of `shape` each; `lengthen` keeps what is in it."""

    def __init__(self, dtype: npt.DTypeLike, rows: int, shape: tuple[int, ...] = ()) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        self.width = self._dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        """Bytes of a row."""
        self._pages = _pages(rows * self.width)
        self.array: npt.NDArray[Any] = self._view(rows)

    def _view(self, rows: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self._pages, self._dtype, rows * int(np.prod(self._shape, dtype=np.int64)))
        return found.reshape(rows, *self._shape)

    def __len__(self) -> int:
        return len(self.array)

    def lengthen(self, rows: int) -> None:
        """More rows. Whoever still looks at the old array goes on doing so, at the price of a copy."""
        old, self.array = self.array, np.empty(0)
        try:
            kept = len(old)
            del old
            self._pages.resize(max(rows * self.width, 1))
        except BufferError:
            pages = _pages(rows * self.width)
            pages[: kept * self.width] = self._pages[: kept * self.width]
            self._pages = pages
        self.array = self._view(rows)
