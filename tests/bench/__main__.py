"""`make bench`: the comparison with others, then where the join's time goes. ARGS names one of the benchmarks
of `tests/bench/README.md`, and its size: `make bench ARGS='transport'`, `make bench ARGS='compare 200000'`.
"""

import sys
from collections.abc import Callable, Mapping

from tests.bench import (
    join_profile,
    judge,
    live,
    loop_times,
    pending,
    recovery,
    replay,
    rollback,
    rules,
    side_by_side,
    storage,
    transport_rate,
)

BENCHES: Mapping[str, tuple[Callable[[int], object], int]] = {
    "compare": (side_by_side.measure, 1_000_000),
    "profile": (join_profile.measure, 500_000),
    "join": (side_by_side.measure_closest, 1_000_000),
    "two": (side_by_side.measure_two, 1_000_000),
    "pending": (pending.measure, 1_000_000),
    "live": (live.measure, 60),
    "recovery": (recovery.measure, 1_000_000),
    "replay": (replay.measure, 1_000_000),
    "transport": (transport_rate.measure, 1_000_000),
    "loop": (loop_times.measure, 10),
    "judge": (judge.measure, 2_000),
    "rollback": (rollback.measure, 10),
    "rules": (rules.measure, 1_000),
    "views": (storage.measure, 30),
}
"""What each measures with, and its size where none is given."""
USUAL = ("compare", "profile")
"""What is measured where nothing is named."""


def main(arguments: list[str]) -> int:
    """Runs the benchmark that is named, or the usual ones."""
    names = (arguments[0],) if arguments else USUAL
    if names[0] not in BENCHES or len(arguments) > 2 or not all(word.isdecimal() for word in arguments[1:]):
        print(
            f"found {' '.join(arguments)!r}, expected one of {', '.join(BENCHES)}, and perhaps its size",
            file=sys.stderr,
        )
        return 2
    for name in names:
        measure, size = BENCHES[name]
        print(measure(int(arguments[1]) if len(arguments) > 1 else size), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
