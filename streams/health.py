"""Is a stage's process healthy, is it ready, and why not? What `/healthz` and `/readyz` say; `probes.py`
serves them.

The event loop tells every second how things stand (`Health.tell`); a thread of its own answers whoever asks,
and never asks back. So nobody can hold the stage up by asking, a stuck event loop is noticed by its silence,
and a frozen process does not answer at all.

*Healthy*: while there is work, some of it gets done and committed (`liveness.py`), and the event loop moves.
A process that is not will not recover by itself; soon after it ends, and the supervisor starts it again.
While Kafka does not answer nothing can be said against the process, and starting it again would not help: it
stays healthy. *Ready*: healthy, Kafka answers, the group has dealt out the partitions (perhaps none to this
process), and those that it got are read to where their logs ended then.
"""

from collections.abc import Mapping
from typing import NamedTuple

from streams.driver import Driver
from streams.probes import Answer
from streams.stage import TopicPartition
from streams.transport.liveness import Liveness, Vitals

VITALS: Mapping[str, str] = {
    "buffer_bytes": "Memory of the events and sums that are held.",
    "catching_up": "Partitions that are read again after a start; unfinished panes are not shown meanwhile.",
    "clickhouse_away_seconds": "For how long ClickHouse has taken no rows.",
    "dead_letters_total": "Records that could not be read or processed.",
    "failed_posts_total": "Messages that a receiver of alerts did not take, and that were tried again.",
    "gathered_rows": "Rows that wait to be inserted.",
    "models": "Models that are watched.",
    "oldest_unsent_seconds": "How long ago the oldest alert came that a receiver has not been told of.",
    "open_alerts": "Alerts of rules that fire.",
    "open_panes": "Panes that are not final.",
    "panes_total": "Snapshots of panes that were emitted.",
    "pending_predictions": "Predictions that feedback may still answer.",
    "posted_alerts_total": "Alerts that receivers have taken, each time that they did.",
    "receivers_away": "Receivers of alerts that did not take the last message.",
    "rows_total": "Rows that ClickHouse has taken.",
    "silenced_alerts": "Alerts that fire and are silenced.",
    "unsent_alerts": "Alerts that a receiver has not been told of yet.",
    "watermark_delay_seconds": "How far the event time that all inputs have passed is behind the wall clock.",
}
"""What stages may say of themselves (`Stage.vitals`), each with its help text. A name in `_total` only grows;
what is not known yet is left out."""


class Standing(NamedTuple):
    """A partition that the process owns: offsets that are still to be read (`lag`), and offsets that are read
    but not committed, which a successor would read again (`uncommitted`)."""

    lag: int
    uncommitted: int


class Report(NamedTuple):
    """How a process stands at monotonic time `at` (seconds). `ill` and `unready` say why not, None where all
    is well; `records` counts by topic what was processed; `commit_age`: for how many seconds something is to
    be committed that the broker has not taken."""

    at: float
    ill: str | None
    unready: str | None
    partitions: Mapping[TopicPartition, Standing]
    records: Mapping[str, int]
    commits: int
    commit_age: float
    vitals: Mapping[str, float]


class Health:
    """The last report of a stage's process, and what follows from it. Safe to use from several threads.

    `patience`: seconds after which an event loop that says nothing counts as stuck.
    """

    def __init__(self, stage: str, patience: float) -> None:
        self.stage = stage
        self.waits_for = "it is starting"
        """What keeps the process from working before its first report."""
        self.idle = False
        """Whether it is not expected to work for now, and so is as ready as it can be."""
        self._patience = patience
        self.report: Report | None = None
        """The last one."""

    def tell(self, report: Report) -> None:
        """How things stand now; to be said about every second."""
        self.report = report

    def healthy(self, now: float) -> Answer:
        """At monotonic time `now` (seconds)."""
        report = self.report
        if report is None:
            return Answer(True, f"waiting: {self.waits_for}")
        if report.ill is not None:
            return Answer(False, report.ill)
        if now - report.at > self._patience:
            return Answer(False, f"the event loop has been stuck for {now - report.at:.0f} s")
        lag = sum(standing.lag for standing in report.partitions.values())
        return Answer(True, f"at work, {lag} offsets behind" if lag else "all is read")

    def ready(self, now: float) -> Answer:
        """At monotonic time `now` (seconds)."""
        report, healthy = self.report, self.healthy(now)
        if not healthy.well:
            return healthy
        if report is None:
            return Answer(self.idle, self.waits_for)
        if report.unready is not None:
            return Answer(False, report.unready)
        owned = len(report.partitions)
        return Answer(True, f"has {owned} partitions" if owned else "has no partition: others have them all")


class Checkup:
    """Finds out how a process stands from what its driver has achieved.

    `patience`: seconds without progress, while there is work, after which it is not healthy. `broker` is for
    words.
    """

    def __init__(self, driver: Driver, patience: float, broker: str, now: float) -> None:
        self._driver = driver
        self._liveness = Liveness(patience)
        self._broker = broker
        self._away = False
        self._ill: str | None = None
        self._commits = 0
        self._done_at = now

    def broker_answers(self, now: float, vitals: Vitals) -> None:
        """At monotonic time `now` (seconds) the broker has answered, and things stood as `vitals` say."""
        self._away, self._ill = False, self._liveness.observe(now, vitals)

    def broker_is_silent(self) -> None:
        """It has not answered; so nothing can be said about what does not get done."""
        self._away, self._ill = True, None
        self._liveness.unknown()

    def report(self, now: float) -> Report:
        """How things stand at monotonic time `now` (seconds)."""
        driver = self._driver
        if not driver.due() or driver.commits != self._commits:
            self._done_at, self._commits = now, driver.commits
        vitals = driver.stage.vitals()
        return Report(
            at=now,
            ill=self._ill if driver.failure is None else f"it ends: {driver.failure}",
            unready=self._unready(vitals),
            partitions={
                partition: Standing(
                    lag=max(0, owned.end - owned.position),
                    uncommitted=owned.position
                    - max(owned.first, owned.committed.offset if owned.committed else 0),
                )
                for partition, owned in driver.owned().items()
            },
            records=dict(driver.records),
            commits=driver.commits,
            commit_age=now - self._done_at,
            vitals=vitals,
        )

    def _unready(self, vitals: Mapping[str, float]) -> str | None:
        """Why the process cannot show what there is, in words."""
        if self._away:
            return f"Kafka at {self._broker} does not answer"
        if not self._driver.settled:
            return "the group has not dealt out its partitions yet"
        behind = sum(max(0, owned.until - owned.position) for owned in self._driver.owned().values())
        if behind:
            return f"{behind} offsets are still to be read of what was there when it took over"
        again = vitals.get("catching_up", 0)
        return f"{again:.0f} partitions are still being caught up with" if again else None
