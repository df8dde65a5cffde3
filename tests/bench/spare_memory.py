"""Makes the machine's free memory ready: touches so many MiB, and frees them.

A virtual machine may give free memory back to its host, and then has to be given each page of it again: that
can take 25 times as long as clearing it, and holds up the other processors.
`python -m tests.bench.spare_memory 300`
"""

import mmap
import sys

from serving.pace import PIECE


def main(mib: int) -> None:
    """Within a second or two whoever asks for memory is given what was touched here."""
    size = mib << 20
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    for first in range(0, size, PIECE):
        memory[first] = 1  # the system clears the whole huge page


if __name__ == "__main__":
    main(int(sys.argv[1]))
