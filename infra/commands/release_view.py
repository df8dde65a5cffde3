"""What stands of one model's release, as the log has it: its releases, its workers, what the judge sees in it
and has refused, and what fires.
"""

import time
from typing import Literal

import msgspec

from infra.commands.output import ago
from schemas import policies, signing, topics
from schemas.errors import HeadgateError
from schemas.policies import ReleasePolicy
from schemas.records import Ack, Alert, Codec, CommandRecord, Phase, Release, Silence, problem
from schemas.settings import Settings
from schemas.timeline import Timeline
from streams.judge.facts import workers
from streams.judge.facts.workers import Workers
from streams.judge.releases import ahead, release
from streams.judge.releases.ahead import Next
from streams.judge.releases.beside import Report
from streams.judge.releases.checkpoint import Checkpoint, Outlook, Refusal, Turn
from streams.judge.releases.dryrun import Would
from streams.judge.releases.release import Standing
from streams.log import Entry, Follower
from streams.notify.silencing import Silences

HISTORY = 60_000
"""How far back (ms) acks and heartbeats are read: whoever lives has spoken since."""
ALERTS = 604_800_000
"""How far back (ms) alerts are read."""
COMMANDS = 86_400_000
"""How far back (ms) commands are read."""


class WorkerStatus(msgspec.Struct):
    """One live worker. `state` says how it stands to the generation in force; `generation` is what it has."""

    worker: str
    state: Literal["applied", "waiting", "late", "failed"]
    generation: int
    loaded: tuple[str, ...]
    last_seen: int
    error: str


class Status(msgspec.Struct):
    """What `headgate release status --json` prints. Times are epoch ms.

    `settled`: every live worker has applied `generation`, and there is at least one. `decision` is the
    release record's evidence: what it was decided from.

    `sentence` says what is going on, `next` what may come and when at the earliest. `outlook` is how the
    judge saw the running release last, `history` its last decisions, the oldest first. `alerts` are those
    that fire, `silences` those that are recorded but not sent; `imagined` is what a `dry_run` would have
    done, `beside` how the shadow does; `dry_run` says that the judge moves nothing by itself. `waiting` are
    commands that the judge has not answered yet.
    """

    model: str
    phase: Phase
    generation: int
    since: int
    stable: str
    candidate: str | None
    shadow: str | None
    weight: float
    step: int | None
    steps: int | None
    reason: str
    decision_id: str
    decision: dict[str, object]
    settled: bool
    workers: list[WorkerStatus]
    refused: list[Refusal]
    sentence: str = ""
    next: list[Next] = []
    outlook: Outlook | None = None
    history: tuple[Turn, ...] = ()
    alerts: list[Alert] = []
    silences: list[Silence] = []
    imagined: tuple[Would, ...] = ()
    beside: Report | None = None
    dry_run: bool = False
    waiting: list[CommandRecord] = []


def asked(command: CommandRecord, now: int) -> str:
    """A command in words, as of `now` (epoch ms)."""
    return f"{command.command} by {command.actor}, {ago(now - command.ts)} ago"


class View:
    """Follows one model. Close it in the end; Kafka's errors are `KafkaException`s."""

    def __init__(self, settings: Settings, model: str) -> None:
        """Reads what there is."""
        self.model = model
        self.standing: Standing | None = None
        self.checkpoint = Checkpoint(model=model, ts=0)
        self.alerts: dict[str, Alert] = {}
        self.commands: dict[str, CommandRecord] = {}
        self.workers = Workers()
        self._of_command: dict[str, Release] = {}
        self._keys = signing.keyring(settings.signing)
        self._timeline = Timeline()
        self._releases = Codec[Release](Release)
        self._acks = Codec[Ack](Ack)
        self._checkpoints = Codec[Checkpoint](Checkpoint)
        self._alerts = Codec[Alert](Alert)
        self._commands = Codec[CommandRecord](CommandRecord)
        self._silences = Silences(self._keys)
        now = _now()
        self._followers = {
            Follower(settings, topics.POLICIES): self._take_policy,
            Follower(settings, topics.RELEASES): self._take_release,
            Follower(settings, topics.EVIDENCE): self._take_checkpoint,
            Follower(settings, topics.ACKS, since=now - HISTORY): self._take_ack,
            Follower(settings, topics.ALERTS, since=now - ALERTS): self._take_alert,
            Follower(settings, topics.SILENCES): self._take_silence,
            Follower(settings, topics.COMMANDS, since=now - COMMANDS): self._take_command,
        }
        try:
            for follower, take in self._followers.items():
                for entry in follower.refresh():
                    take(entry)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the consumers."""
        for follower in self._followers:
            follower.close()

    def wait(self, seconds: float) -> None:
        """Takes in what comes, for at most `seconds`; returns with the first of it."""
        deadline = time.monotonic() + seconds
        while True:
            entries = [
                (take, entry) for follower, take in self._followers.items() for entry in follower.poll(0.02)
            ]
            for take, entry in entries:
                take(entry)
            if entries or time.monotonic() >= deadline:
                return

    def answer(self, command_id: str) -> Release | None:
        """The release that a command led to; None while there is none.

        Raises `HeadgateError` where the judge has refused it.
        """
        refused = next((one for one in self.checkpoint.refusals if one.command_id == command_id), None)
        if refused is not None:
            raise HeadgateError(f"{self.model}: {refused.command} was refused: {refused.reason}")
        return self._of_command.get(command_id)

    @property
    def waiting(self) -> list[CommandRecord]:
        """The commands that the judge has neither carried out nor refused."""
        answered = {*self.checkpoint.commands, *self._of_command}
        return [command for id_, command in self.commands.items() if id_ not in answered]

    def status(self) -> Status:
        """What stands now. Raises `HeadgateError` where the model has no release."""
        if self.standing is None and self.waiting:
            raise HeadgateError(
                f"{self.model} has no release yet: {asked(self.waiting[0], _now())}, is not answered yet; "
                "see whether `headgate streams judge` runs"
            )
        if self.standing is None:
            raise HeadgateError(
                f"{self.model} has no release yet; `headgate release start {self.model} VERSION` makes a "
                "first version stable, `headgate check` says whether the judge is running"
            )
        record, state = self.standing
        policy = self._policy()
        crew = self.crew(record)
        return Status(
            model=self.model,
            phase=record.phase,
            generation=record.generation,
            since=record.ts,
            stable=record.stable,
            candidate=record.candidate,
            shadow=record.shadow,
            weight=record.weight,
            step=state.step + 1 if self.standing.phase == "canary" and policy.steps else None,
            steps=len(policy.steps) if self.standing.phase == "canary" and policy.steps else None,
            reason=record.reason,
            decision_id=record.decision_id,
            decision={key: value for key, value in (record.evidence or {}).items() if key != "state"},
            settled=bool(crew) and all(worker.state == "applied" for worker in crew),
            workers=crew,
            refused=list(self.checkpoint.refusals),
            sentence=ahead.sentence(self.model, self.standing),
            next=ahead.ahead(self.standing, self._timeline.at(self.model, _now()).release),
            outlook=self.checkpoint.outlook if self.standing.runs else None,
            history=self.checkpoint.history,
            alerts=sorted(
                (alert for alert in self.alerts.values() if alert.status == "firing"),
                key=lambda alert: alert.starts_at,
            ),
            silences=self._silences.in_force(_now(), self.model),
            imagined=self.checkpoint.course.past if self.checkpoint.course is not None else (),
            beside=self.checkpoint.beside if record.shadow is not None else None,
            dry_run=policy.dry_run and self.standing.runs,
            waiting=self.waiting,
        )

    def crew(self, record: Release) -> list[WorkerStatus]:
        """The live workers, and how they stand to `record`."""
        now = _now()
        stands = self.workers.stand(record.generation, record.ts, self._policy().ack_deadline, now)
        return [
            WorkerStatus(
                worker=worker.name,
                state=stands[worker.name].value,
                generation=worker.applied,
                loaded=worker.loaded,
                last_seen=worker.last,
                error=worker.error if stands[worker.name] is workers.Standing.FAILED else "",
            )
            for worker in self.workers.live(now)
        ]

    def _policy(self) -> ReleasePolicy:
        return self._timeline.at(self.model, _now()).release or policies.ReleasePolicy()

    def _take_policy(self, entry: Entry) -> None:
        try:
            self._timeline.read(entry.value, entry.timestamp)
        except HeadgateError:
            return  # `headgate policy show` reports it

    def _take_release(self, entry: Entry) -> None:
        if not self._is_ours(entry):
            return
        try:
            record = self._releases.decode(entry.value)
        except msgspec.DecodeError:
            return
        if self._keys.mistake(entry.value or b"", entry.headers) is not None:
            return  # `headgate check` reports it
        if self.standing is None or record.generation > self.standing.release.generation:
            self.standing = release.read(record)
        command = (record.evidence or {}).get("command_id")
        if isinstance(command, str):
            self._of_command[command] = record

    def _take_checkpoint(self, entry: Entry) -> None:
        if self._is_ours(entry):
            try:
                self.checkpoint = self._checkpoints.decode(entry.value)
            except msgspec.DecodeError:
                return

    def _take_ack(self, entry: Entry) -> None:
        if self._is_ours(entry):
            try:
                self.workers.take(self._acks.decode(entry.value))
            except msgspec.DecodeError:
                return

    def _take_alert(self, entry: Entry) -> None:
        if self._is_ours(entry):
            try:
                alert = self._alerts.decode(entry.value)
            except msgspec.DecodeError:
                return
            self.alerts[alert.alert_id] = alert

    def _take_silence(self, entry: Entry) -> None:
        try:
            self._silences.read(entry.key, entry.value, entry.timestamp, entry.headers)
        except ValueError:
            return  # it silences nothing

    def _take_command(self, entry: Entry) -> None:
        if not self._is_ours(entry):
            return
        try:
            command = self._commands.decode(entry.value)
        except msgspec.DecodeError:
            return
        if problem(command, entry.timestamp) is None:
            self.commands[command.command_id] = command

    def _is_ours(self, entry: Entry) -> bool:
        return entry.key == self.model.encode() and bool(entry.value)


def _now() -> int:
    return time.time_ns() // 1_000_000
