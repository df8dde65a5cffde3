"""The comparison: Headgate's join, decoding alone, and other people's ways of doing a part of it, one after
another on the same broker and the same workload.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from infra.local.stack import LocalStack
from tests.bench import figure, race
from tests.bench.backlog import Backlog, fill
from tests.bench.contestants import DECODING, HEADGATE, TWO, Contestant, Stranger, warm_up
from tests.bench.peers.roster import PEERS
from tests.bench.race import Outcome

LOOP, *OTHERS = (Stranger(peer) for peer in PEERS)
CONTESTANTS: tuple[Contestant, ...] = (HEADGATE, DECODING, LOOP, *OTHERS)
CLOSEST: tuple[Contestant, ...] = (HEADGATE, LOOP, DECODING)
"""Those whose rates are so near each other that one run does not tell which is faster."""
ROUNDS = 5
RESULTS = Path(sys.prefix) / "bench"
"""Where the results of a run are written: `join.json` and `join.svg`."""


def measure(predictions: int) -> str:
    """Runs all; prints a line as each is through, writes JSON and a picture, and answers the table."""
    outcomes = run(predictions, CONTESTANTS)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "join.json").write_text(json.dumps(msgspec.to_builtins(outcomes), indent=1) + "\n")
    (RESULTS / "join.svg").write_text(figure.draw(outcomes))
    return f"\n{table(outcomes)}\n\nwritten: {RESULTS / 'join.json'}, {RESULTS / 'join.svg'}"


def measure_closest(predictions: int) -> str:
    """Headgate's join, the hand-written loop and decoding alone take turns: each one's median, and that of
    Headgate's rate over each other's of the same round.
    """
    rounds = [run(predictions, CLOSEST) for _ in range(ROUNDS)]
    columns = list(zip(*rounds, strict=True))
    ratios = (
        f"Headgate / {others[0].name}: {median(of / other for of, other in pairs):.2f} "
        f"({', '.join(f'{of / other:.2f}' for of, other in pairs)})"
        for others in columns[1:]
        for pairs in [[(of.rate, other.rate) for of, other in zip(columns[0], others, strict=True)]]
    )
    return "\n".join([table([middle(column) for column in columns]), *ratios])


def middle(outcomes: Sequence[Outcome]) -> Outcome:
    """The one whose rate is the median of an odd number's."""
    return sorted(outcomes, key=lambda o: o.rate)[len(outcomes) // 2]


def measure_two(predictions: int) -> str:
    """One process against two that share the partitions."""
    return table(run(predictions, (HEADGATE, TWO)))


def run(predictions: int, contestants: Sequence[Contestant]) -> list[Outcome]:
    """Runs them one after another, each on as much as it is given at most."""
    outcomes: list[Outcome] = []
    with LocalStack() as stack:
        warm_up(stack.settings)
        backlogs: dict[str, Backlog] = {}
        for contestant in contestants:
            size = min(predictions, contestant.most)
            prefix = f"{contestant.prefix}{size}."
            if prefix not in backlogs:
                backlogs[prefix] = fill(stack.settings, size, prefix)
            outcomes.append(race.run(contestant, backlogs[prefix]))
            print(line(outcomes[-1]), flush=True)
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """All outcomes, fastest first."""
    head = f"{'':20}{'events/s':>12}{'predictions':>13}{'CPU s / M':>11}{'peak MiB':>10}  correct"
    return "\n".join([head, *(line(o) for o in sorted(outcomes, key=lambda o: -o.rate))])


def line(outcome: Outcome) -> str:
    """One outcome."""
    if not outcome.seconds:
        return f"{outcome.name:20}{outcome.problem}"
    return (
        f"{outcome.name:20}{outcome.rate:12,.0f}{outcome.workload:13,}{outcome.cost:11.1f}"
        f"{outcome.memory:10,.0f}  {verdict(outcome)}"
    )


def verdict(outcome: Outcome) -> str:
    """Whether the results are the batch truth's, and what is missing of it."""
    if outcome.problem:
        return outcome.problem
    if outcome.correct:
        return "yes"
    return f"no: {outcome.predictions:.1%} of the predictions, {outcome.clicks:.1%} of the clicks"
