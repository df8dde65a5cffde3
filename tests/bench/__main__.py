"""`make bench`: the figures of `tests/bench/README.md`. ARGS names one of them, and its size: `make bench
ARGS='join 1000000'`.
"""

import sys
from collections.abc import Callable, Mapping

from tests.bench import join_rate, loop_times, transport_rate

BENCHES: Mapping[str, tuple[Callable[[int], object], int]] = {
    "transport": (transport_rate.measure, 1_000_000),
    "join": (join_rate.measure, 300_000),
    "loop": (loop_times.measure, 10),
}
"""What each measures with, and its size where none is given."""


def main(arguments: list[str]) -> int:
    """Runs the benchmark that is named, or all."""
    if arguments and arguments[0] not in BENCHES:
        print(f"found {arguments[0]!r}, expected one of {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in arguments[:1] or BENCHES:
        measure, size = BENCHES[name]
        print(measure(int(arguments[1]) if len(arguments) > 1 else size), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
