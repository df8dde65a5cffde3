"""What a process allocates besides its tables (`memory.py`): what it has fetched, the columns of one call. It
is much, for a moment, and the next moment needs as much.

By default glibc takes a large block from the system and gives it back when it is freed, so that the next one
is made of new pages, which the system has to clear and to map: a quarter of the join's processor time at full
speed. Here freed blocks stay with the process until `give_back` is called, and all threads share one heap.
With one for each, by default, the end of only the first is given back: 20 MiB stayed, and the join was slower
(`tests/bench/README.md`).
"""

import ctypes

KEPT = 4 << 20
"""Bytes up to which a block comes from what has been freed: a call's columns, a batch of a fetch. Larger ones
come from the system as ever: kept, they took a process with a small limit over it.
"""
NEVER = (1 << 31) - 1

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""`M_TRIM_THRESHOLD`, `M_MMAP_THRESHOLD` and `M_ARENA_MAX` of glibc's malloc.h."""

_library = ctypes.CDLL(None)


def keep() -> None:
    """Has the C library of this process keep what is freed, in one heap for the threads to come. Other
    libraries than glibc do what they do.
    """
    set_option = getattr(_library, "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, KEPT)
        set_option(_TRIM_THRESHOLD, NEVER)
        set_option(_ARENA_MAX, 1)


def give_back() -> None:
    """Gives the system what has been freed."""
    trim = getattr(_library, "malloc_trim", None)
    if trim is not None:
        trim(0)
