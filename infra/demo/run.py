"""`headgate demo`: the whole loop on real data, by itself: a local stack, the stages, two workers, a shop,
and two releases.

v2, retrained on more data, is to be promoted; v3, with its item index off by one, is to be rolled back. The
answer is 0 only if both happened, every worker acknowledged, and ClickHouse's totals equal those that the
shop kept by itself.
"""

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from rich.console import Console

from infra import topics as broker
from infra.demo import models, movielens, report, visits
from infra.demo.live import Screen
from infra.demo.observer import Observer
from infra.demo.producer import Shop
from infra.local.process import Process
from infra.local.stack import LocalStack
from schemas import policy_files, topics
from schemas.errors import HeadgateError
from schemas.policies import to_object
from schemas.records import ENCODER, CommandRecord, PolicyRecord
from schemas.settings import Settings
from streams.log import Output
from streams.storage import migrate

POLICY = Path(__file__).with_name("policy.yaml")
WORKERS = 2
RATE = 300.0
"""Requests a second."""

BASELINE = 12.0
"""Seconds of traffic on v1 before its successor starts."""

ACTOR = "demo"

READY, PROMOTION, ROLLBACK, BOOKS = 60.0, 75.0, 45.0, 30.0
"""Seconds until the workers must serve, a release must be decided either way, and ClickHouse must have
everything.
"""


class DemoFailedError(HeadgateError):
    """The demo did not show what it is to show."""


def run(seed: int, keep: bool) -> int:
    """Runs the demo in the foreground; answers the exit status. `keep`: afterwards the stack stays up until
    Ctrl-C.
    """
    console = Console()
    console.print(
        "[bold]Headgate demo[/bold]: MovieLens-100K, a ranker, two releases: one good, one with a bug."
    )
    data = movielens.load(movielens.fetch())
    folder = models.repository(data, seed)
    console.print(
        f"Data: {len(data.ratings.item):,} ratings. The last fifth by time is replayed as visits; the data "
        "has few users, so every replayed visit counts as a user of its own.",
    )
    with ExitStack() as resources:
        stack = resources.enter_context(LocalStack())
        settings = stack.settings
        console.print(report.while_it_runs(settings), highlight=False, soft_wrap=True)
        broker.create(settings, forever=True)
        client = _client(settings)
        migrate(client, settings.clickhouse.database)
        client.database = settings.clickhouse.database
        output = Output(settings)
        _apply_policy(output)
        for name, arguments, own in _processes(folder, settings):
            environment = {**settings.environment(), **own}
            process = resources.enter_context(_process(name, arguments, environment, stack.logs))
        observer = Observer(settings, client, models.MODEL)
        resources.callback(observer.close)
        shop = Shop(settings, models.MODEL, visits.replay(data, visits.FIRST, seed), RATE, seed)
        screen = resources.enter_context(Screen(console, observer, shop))
        story = Story(settings, output, observer, shop, screen)
        try:
            story.tell(visits.replay(data, visits.SECOND, seed))
        except DemoFailedError as error:
            console.print(
                f"[bold red]The demo failed:[/bold red] {error}. The logs were in {stack.logs}",
                highlight=False,
            )
            console.print(_tail(stack.logs))
            return 1
        passed = report.summarize(console, observer, shop)
        if keep:
            console.print(report.where_to_look(settings), highlight=False, soft_wrap=True)
            _wait_for_interrupt(process)
    if not keep:
        console.print(report.STAY, highlight=False)
    return 0 if passed else 1


class Story:
    """What happens, in order; each step waits until the loop itself has done its part."""

    def __init__(
        self, settings: Settings, output: Output, observer: Observer, shop: Shop, screen: Screen
    ) -> None:
        self._output = output
        self._observer = observer
        self._shop = shop
        self._screen = screen

    def tell(self, second_act: Iterator[visits.Visit]) -> None:
        """Raises `DemoFailedError` where the loop does not do its part in time."""
        self.open()
        self.release(second_act)
        self.close()

    def open(self) -> None:
        """v1 serves, and the shop opens."""
        self._screen.say(f"start {models.STABLE}: the first start of a model makes it stable at once")
        self._start(models.STABLE)
        self._until(
            "two workers to acknowledge v1",
            READY,
            lambda: self._is_acknowledged() and len(self._observer.workers) == WORKERS,
        )
        self._shop.start()
        self._screen.say(f"{WORKERS} workers serve {models.STABLE}; {RATE:.0f} requests a second")
        began = time.monotonic()
        self._until("traffic", BASELINE + 5, lambda: time.monotonic() - began >= BASELINE)

    def release(self, second_act: Iterator[visits.Visit]) -> None:
        """v2 is promoted, v3 is rolled back."""
        self._shop.visits = second_act
        self._screen.say(
            f"start {models.RETRAINED}: retrained on more data; to be promoted once proven non-inferior"
        )
        self._start(models.RETRAINED)
        self._until(
            f"{models.RETRAINED} to be promoted", PROMOTION, lambda: self._stable_is(models.RETRAINED)
        )
        self._screen.say(f"[green]{models.RETRAINED} is promoted[/green]")
        self._until(
            "the watch to end", PROMOTION, lambda: self._phase_is("stable") and self._is_acknowledged()
        )

        self._screen.say(f"start {models.BROKEN}: its item index is off by one, but nobody knows yet")
        self._start(models.BROKEN)
        self._until(f"{models.BROKEN} to be rolled back", ROLLBACK, lambda: self._phase_is("rolled_back"))
        self._screen.say(f"[red]{models.BROKEN} is rolled back[/red]")
        self._until("the workers to acknowledge the rollback", READY, self._is_acknowledged)
        rest = time.monotonic()
        self._until("a little more traffic", 10, lambda: time.monotonic() - rest >= 4)

    def close(self) -> None:
        """The shop closes, and its books are held against ClickHouse."""
        self._screen.say("the shop closes: no more requests, the last clicks come in")
        self._shop.close(BOOKS)
        self._until(
            "ClickHouse to have everything",
            BOOKS,
            lambda: report.books_agree(self._observer, self._shop),
            fails=False,
        )

    def _start(self, version: str) -> None:
        now = time.time_ns() // 1_000_000
        command = CommandRecord(
            model=models.MODEL,
            ts=now,
            command="start",
            command_id=f"demo-{version}",
            actor=ACTOR,
            version=version,
        )
        self._output.send(topics.COMMANDS, models.MODEL, ENCODER.encode(command))
        self._output.flush()

    def _until(self, what: str, timeout: float, happened: Callable[[], bool], *, fails: bool = True) -> None:
        deadline = time.monotonic() + timeout
        known = len(self._observer.releases)
        while True:
            self._observer.refresh()
            for stamped in self._observer.releases[known:]:
                release = stamped.release
                self._screen.say(
                    f"release: generation {release.generation}, {release.phase}, stable {release.stable}, "
                    f"candidate {release.candidate or '–'} at {release.weight:.0%}: {release.reason}"
                )
            known = len(self._observer.releases)
            self._screen.show()
            if happened():
                return
            if self._shop.failure is not None:
                raise DemoFailedError(f"the shop ended: {self._shop.failure!r}")
            if self._shop.errors:
                raise DemoFailedError(
                    f"{len(self._shop.errors)} requests were answered with an error, "
                    f"the first: {self._shop.errors[0]}"
                )
            if time.monotonic() > deadline:
                if fails:
                    raise DemoFailedError(f"waited {timeout:.0f} s for {what}; {self._where_it_stands()}")
                return
            time.sleep(0.3)

    def _where_it_stands(self) -> str:
        release = self._observer.current
        workers = ", ".join(sorted(self._observer.workers)) or "none"
        return f"release: {release}; workers: {workers}"

    def _stable_is(self, version: str) -> bool:
        release = self._observer.current
        return release is not None and release.stable == version

    def _phase_is(self, phase: str) -> bool:
        release = self._observer.current
        return release is not None and release.phase == phase

    def _is_acknowledged(self) -> bool:
        release = self._observer.current
        return release is not None and self._observer.acknowledged(release.generation) is not None


def _client(settings: Settings) -> Client:
    return clickhouse_connect.get_client(**settings.clickhouse.connect())


def _apply_policy(output: Output) -> None:
    (policy,) = policy_files.load([POLICY])
    body = msgspec.Raw(ENCODER.encode(to_object(policy)))
    record = PolicyRecord(model=policy.model, ts=time.time_ns() // 1_000_000, policy=body, actor=ACTOR)
    output.send(topics.POLICIES, policy.model, ENCODER.encode(record))
    output.flush()


def _processes(folder: Path, settings: Settings) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, arguments, and what is each one's own in its environment: workers' health is one port apart; of
    the users in the examples nobody needs to find any again, so their key is kept nowhere.
    """
    yield "streams", ["streams"], {"HEADGATE_EXAMPLES_SECRET": secrets.token_hex(32)}
    host, port = settings.serving.health.rsplit(":", 1)
    for number in range(WORKERS):
        own = {"HEADGATE_SERVING_HEALTH": f"{host}:{int(port) + number}"}
        yield f"worker-{number + 1}", ["serve", "--models", str(folder)], own


def command(arguments: Sequence[str], folder: Path) -> list[str]:
    """A headgate command whose settings are those of its environment alone: a `headgate.toml` where the demo
    is run is for another Kafka. The empty one that it reads instead is made in `folder`.
    """
    settings = folder / "headgate.toml"
    settings.touch()
    return [sys.executable, "-m", "infra.cli", "--config", str(settings), *arguments]


@contextmanager
def _process(
    name: str, arguments: list[str], environment: Mapping[str, str], logs: Path
) -> Iterator[Process]:
    process = Process(name, logs / f"{name}.log")
    process.start(command(arguments, logs), environment)
    try:
        yield process
    finally:
        process.stop()


def _wait_for_interrupt(process: Process) -> None:
    try:
        while process.running:
            time.sleep(0.5)
    except KeyboardInterrupt:
        pass


def _tail(logs: Path) -> str:
    return "\n".join(
        f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        for log in sorted(logs.glob("*.log"))
    )
