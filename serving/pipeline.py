"""Work in two stages, each in a thread of its own: while one leg runs, what ran before it is delivered, and
the caller makes the next one ready. Knows nothing of models or Kafka.

A model's run lets go of the interpreter's lock, so what Python has to do for the batches before and after it
costs no time of its own. Both threads take things in the order in which the caller put them in, so what is
later is never over before what is earlier. What is over the caller learns in its own thread, when it asks:
offsets and partitions have one owner.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Generic, NamedTuple, TypeVar

Leg = TypeVar("Leg")
Ran = TypeVar("Ran")
Result = TypeVar("Result")


class Step(NamedTuple):
    """Something on its way, and what the caller's thread is to do with its result."""

    work: Future[Any]
    then: Callable[[Any], None]


class Pipeline(Generic[Leg, Ran]):
    """`run` is called with each leg in the one thread, `deliver` with what comes of it in the other."""

    def __init__(self, run: Callable[[Leg], Ran], deliver: Callable[[Ran], None]) -> None:
        self._run = run
        self._deliver = deliver
        self._runner = ThreadPoolExecutor(1, "run")
        self._deliverer = ThreadPoolExecutor(1, "deliver")
        self._last: Future[Ran] | None = None
        self._steps: deque[Step] = deque()

    def rest(self) -> bool:
        """Waits until nothing runs, nor waits for its run. Answers whether anything did."""
        if self._last is None or self._last.done():
            return False
        wait([self._last])
        return True

    def put(self, legs: Sequence[Leg], then: Callable[[], None]) -> None:
        """A batch: its legs run one after another, each is delivered as soon as it has run. `land` calls
        `then` once all are."""
        runs = [self._runner.submit(self._run, leg) for leg in legs]
        if runs:
            self._last = runs[-1]
        self.follow(lambda: self._deliver_all(runs), lambda _: then())

    def follow(self, work: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Has `work` done where things are delivered, after all that was put in before and before all that
        will be. `land` calls `then` with its result."""
        self._steps.append(Step(self._deliverer.submit(work), then))

    def land(self, most: int) -> None:
        """Calls what is to be called of all that is over, in order; waits until at most `most` steps are not.

        Raises what a step raised. Those behind it never land then: they would vouch for what is before them.
        """
        while self._steps and (len(self._steps) > most or self._steps[0].work.done()):
            work, then = self._steps.popleft()
            try:
                result = work.result()
            except BaseException:
                self._steps.clear()
                raise
            then(result)

    def close(self) -> None:
        """Ends its threads, once what they do is done; what has not begun is dropped."""
        self._runner.shutdown(wait=False, cancel_futures=True)
        self._deliverer.shutdown(wait=False, cancel_futures=True)

    def _deliver_all(self, runs: Sequence[Future[Ran]]) -> None:
        for run in runs:
            self._deliver(run.result())
