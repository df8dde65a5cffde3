"""Replay beside the join stage, on one broker and in turns: the join reads a backlog, `headgate replay` reads
the same topics, and the same records from a file. All three find the panes of the batch truth.

The rates of replay are those that it prints itself: its clock starts when all is compiled and the broker has
answered, as the join's starts when the backlog flows.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
import numpy as np

from infra.local.stack import LocalStack
from schemas import policies
from schemas.records import ENCODER, PolicyRecord
from schemas.settings import Settings
from schemas.topics import FEEDBACK, POLICIES, PREDICTIONS, PROFILES, REQUESTS, Topic
from tests.bench import race, workload
from tests.bench.backlog import Backlog, fill
from tests.bench.contestants import HEADGATE, warm_up
from tests.bench.results import exact
from tests.bench.side_by_side import line
from tests.bench.workload import CHUNK, MODEL, RATE, START, Counts, Event, Key, Slates

SUMMARY = re.compile(r"([\d,]+) records .* in ([\d.]+) s")
ROUNDS = 3
"""Of all three, one after the other: what else the machine does, it does to all of a round."""
COUNTED = ("predictions", "impressions", "clicks", "latency_mean_ms")
"""The metrics whose numerators are the truth's counts, in their order."""


class Replayed(NamedTuple):
    """What a replay said: records and seconds by its own word, and whether its panes are the truth."""

    name: str
    records: int
    seconds: float
    correct: bool

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    def __str__(self) -> str:
        return f"{self.name:20}{self.rate:12,.0f} events/s, panes correct: {'yes' if self.correct else 'no'}"


def measure(predictions: int) -> str:
    """Some runs of each, and how the rates compare."""
    with LocalStack() as stack, tempfile.TemporaryDirectory() as folder:
        warm_up(stack.settings)
        recording = Path(folder) / "events.jsonl"
        record(recording, predictions)
        sources = {"from Kafka": ["--from-kafka"], "from a file": ["--events", str(recording)]}
        shares = defaultdict[str, list[float]](list)
        for number in range(ROUNDS):  # each on its own topics: what a group has read, it does not read again
            backlog = fill(stack.settings, predictions, f"replay-{number}.")
            live = race.run(HEADGATE, backlog)
            print(line(live), flush=True)
            for name, source in sources.items():
                found = _replay(name, source, backlog, Path(folder))
                print(found, flush=True)
                shares[name].append(found.rate / live.rate)
        return "\n".join(
            f"{name}: {median(each):.2f} of the join's rate (rounds: {', '.join(f'{s:.2f}' for s in each)})"
            for name, each in shares.items()
        )


def record(path: Path, predictions: int) -> None:
    """Writes the workload as a recording: its policy, its profiles and its events in the order of time."""
    body = msgspec.Raw(ENCODER.encode(policies.to_object(workload.policy())))
    published = PolicyRecord(model=MODEL, ts=START, policy=body, actor="bench")
    with path.open("wb") as file:
        file.write(_line(POLICIES, ENCODER.encode(published)))
        file.writelines(_line(PROFILES, ENCODER.encode(profile)) for profile in workload.profiles())
        file.writelines(_line(topic, event.value) for topic, event in _events(predictions))


def _events(predictions: int) -> Iterator[tuple[Topic, Event]]:
    """All of the workload's, in order of time."""
    clicks: list[Event] = []
    for first in range(0, predictions, CHUNK):
        slates = Slates(first, min(CHUNK, predictions - first))
        clicks += [click.event for click in slates.clicks()]
        until = START + (first + CHUNK) * 1_000 // RATE
        some = [(REQUESTS, event) for event in slates.requests()]
        some += [(PREDICTIONS, event) for event in slates.predictions()]
        some += [(FEEDBACK, event) for event in clicks if event.ts < until]
        clicks = [event for event in clicks if event.ts >= until]
        yield from sorted(some, key=lambda each: each[1].ts)
    yield from ((FEEDBACK, event) for event in sorted(clicks, key=lambda event: event.ts))


def _line(topic: Topic, value: bytes) -> bytes:
    return b'{"topic":"%b","value":%b}\n' % (topic.name.encode(), value)


def _replay(name: str, source: list[str], backlog: Backlog, folder: Path) -> Replayed:
    prefix, partitions = backlog.settings.topics.prefix, backlog.settings.topics.partitions
    (folder / "headgate.toml").write_text(f'[topics]\nprefix = "{prefix}"\npartitions = {partitions}\n')
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "replay", *source, "--only", "pane", "--model", MODEL],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2])} | _environment(backlog.settings),
        capture_output=True,
        check=True,
    )
    found = SUMMARY.search(done.stderr.decode())
    assert found is not None, done.stderr
    return Replayed(
        name, int(found[1].replace(",", "")), float(found[2]), _correct(_panes(done.stdout), backlog)
    )


def _environment(settings: Settings) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(Path.home())} | settings.environment()


def _panes(printed: bytes) -> dict[Key, Counts]:
    """What the rows say, by pane."""
    numbers: dict[Key, dict[str, float]] = defaultdict(dict)
    for row in map(json.loads, printed.splitlines()):
        if row["metric"] in COUNTED and row["version"]:
            start = int(np.datetime64(row["pane"], "ms").astype(np.int64))
            numbers[Key(row["version"], row["arm"], start)][row["metric"]] = row["numerator"]
    return {key: _counts(found) for key, found in numbers.items() if set(found) == set(COUNTED)}


def _counts(found: dict[str, float]) -> Counts:
    predictions, impressions, clicks, latency = (found[name] for name in COUNTED)
    return Counts(int(predictions), int(impressions), int(clicks), latency)


def _correct(found: dict[Key, Counts], backlog: Backlog) -> bool:
    """Whether these are the panes of the truth, and no others of the workload's time."""
    ours = {key for key in found if key.start <= backlog.last}
    exactly = all(exact(found.get(key), counts) for key, counts in backlog.truth.items())
    return exactly and ours <= backlog.truth.keys()
