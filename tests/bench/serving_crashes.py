"""How long a serving worker is silent when its process is killed: `kill -9` under load, again and again, from
the last answer before to the first one after, beside its start from nothing.

    .venv/bin/python -m tests.bench.serving_crashes 20
"""

import statistics
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

from infra.local.stack import LocalStack
from schemas import topics
from tests.integration.serving_world import World, until

RATE = 200.0
"""Requests a second."""

PAUSE = 2.0
"""Seconds between crashes, in which the worker serves."""


class Load:
    """Requests, one after the other, until it is told to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1 / RATE):
            self._world.request(f"r{self.sent}", range(20))
            self.sent += 1
        self._world.flush()


def measure(rounds: int) -> str:
    """So many crashes."""
    with LocalStack() as stack, tempfile.TemporaryDirectory() as folder:
        world = World(stack.settings, Path(folder))
        try:
            world.release(1, "v1")
            started = time.time() * 1000
            world.request("first")
            world.flush()
            worker = world.start()
            world.await_answers(["first"])
            cold = world.entries(topics.PREDICTIONS)[0].timestamp - started
            killed = []
            with Load(world) as load:
                for _ in range(rounds):
                    time.sleep(PAUSE)
                    serving = worker.serving()
                    killed.append(time.time() * 1000)
                    serving.kill()
                    until(lambda: any(at > killed[-1] + 50 for at in _answered(world)))
            names = [f"r{n}" for n in range(load.sent)]
            answers = world.await_answers(names)
            times = sorted(_answered(world))
        finally:
            world.close()
    silences = [_silence(times, at) for at in killed]
    statuses = {one.status for one in answers}
    return (
        f"serving crashes: {rounds} times kill -9 at {RATE:.0f} requests/s: silent for "
        f"{statistics.median(silences):.0f} ms (median), {max(silences):.0f} ms at most; "
        f"all {len(names)} requests answered, {len(answers) - len(names) - 1} of them twice, "
        f"statuses {', '.join(sorted(statuses))}; "
        f"a start from nothing takes {cold:.0f} ms"
    )


def _answered(world: World) -> list[int]:
    """When each answer came (epoch ms)."""
    world.predictions()
    return [entry.timestamp for entry in world.entries(topics.PREDICTIONS)]


def _silence(times: list[int], killed: float) -> float:
    """The longest gap between answers that begins around the time `killed`."""
    near = [at for at in times if killed - 500 < at < killed + 20_000]
    return max(later - earlier for earlier, later in pairwise(near) if earlier < killed + 100)


if __name__ == "__main__":
    print(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
