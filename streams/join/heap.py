"""What a process allocates besides its tables (`memory.py`): what it has fetched, the columns of one call. It
is much, for a moment, and is to be given back.
"""

import ctypes

BLOCK = 128 * 1024
"""Bytes from which the C library takes a block from the system and gives it back at once: its own default."""

_MMAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of glibc's malloc.h."""


def give_back() -> None:
    """Has the C library of this process go on to give large blocks back when they are freed.

    glibc raises that size to the largest block that was freed, up to 32 MiB (mallopt(3)), so what fetches
    need for a moment would stay with the process. Other libraries do what they do.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, BLOCK)
