"""Who may steer serving: signed releases and commands, forged ones, zombies and second judges, on a real
broker.
"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

import infra.topics
from schemas import topics
from schemas.errors import HeadgateError
from schemas.records import ENCODER, Ack, Codec, Command, CommandRecord, DeadLetter, Release
from schemas.settings import Settings, Signing
from schemas.signing import HEADER, Key, Keyring
from streams.judge.releases.checkpoint import Checkpoint
from streams.judge.writer import force_rollback
from streams.log import Entry, Follower, Output
from tests.judge_processes import POLICY, Bench, Log, now, publish_release

KEY, OTHER = Key("2026-11", bytes(range(32))), Key("2027-02", bytes(range(32, 64)))
RELEASE: Codec[Release] = Codec(Release)


def written(settings: Settings, folder: Path, *keys: Key, required: bool = True) -> Settings:
    """Settings with these keys in a file of their own."""
    file = folder / f"{'-'.join(key.id for key in keys)}.keys"
    file.write_text("".join(f"{key.id}:{key.secret.hex()}\n" for key in keys))
    return msgspec.structs.replace(settings, signing=Signing(keys=str(file), required=required))


class Court(Bench):
    """A bench whose operator signs; and what is in `control.releases`, as it is."""

    def __init__(self, settings: Settings, folder: Path, model: str) -> None:
        super().__init__(settings, folder, model)
        self._control = Output(settings)
        self._entries = Follower(settings, topics.RELEASES)
        self._seen: list[Entry] = []
        self._letters = Log(settings, topics.DEAD_LETTERS, DeadLetter)
        self._checkpoints = Log(settings, topics.EVIDENCE, Checkpoint)

    def command(self, word: Command, version: str | None = None, key: Key | None = KEY) -> None:
        record = CommandRecord(
            model=self.model, ts=now(), command=word, command_id=uuid4().hex, actor="olga", version=version
        )
        self.write(topics.COMMANDS.name, ENCODER.encode(record), key)

    def write(self, topic: str, value: bytes, key: Key | None) -> None:
        """Anybody's record, signed with `key`."""
        (known,) = (known for known in topics.ALL if known.name == topic)
        headers = Keyring([key] if key else []).sign(value)
        self._control.send(known, self.model, value, headers=headers)
        self._control.flush()

    def forge(self, generation: int, stable: str, key: Key | None = None) -> None:
        """A release that nobody has decided."""
        record = Release(
            model=self.model, generation=generation, ts=now(), stable=stable, decision_id="x", reason="evil"
        )
        self.write(topics.RELEASES.name, ENCODER.encode(record), key)

    def entries(self) -> list[Entry]:
        """All records of the model in `control.releases`."""
        self._seen += self._entries.refresh()
        return [entry for entry in self._seen if entry.key == self.model.encode()]

    def last(self) -> Release:
        """What compaction would keep."""
        return RELEASE.decode(self.entries()[-1].value)

    def letters(self, topic: str) -> list[str]:
        return [letter.reason for letter in self._letters.read() if letter.topic == topic]

    def refusals(self) -> list[str]:
        found = [point for point in self._checkpoints.read() if point.model == self.model]
        return [refusal.reason for refusal in found[-1].refusals] if found else []

    def rules(self) -> list[str]:
        return [alert.rule for alert in self.alerts()]


@pytest.fixture
def topics_made(settings: Settings) -> Settings:
    infra.topics.create(settings, forever=True)
    return settings


@pytest.fixture
def court(topics_made: Settings, tmp_path: Path) -> Iterator[Court]:
    """With a key."""
    made = Court(written(topics_made, tmp_path, KEY), tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    yield made
    made.close()


@pytest.fixture
def bench(topics_made: Settings, tmp_path: Path) -> Iterator[Court]:
    """Without any key."""
    made = Court(topics_made, tmp_path, f"ranker-{now()}")
    made.apply(POLICY)
    made.command("start", "v1", key=None)
    yield made
    made.close()


def test_with_a_key_releases_are_signed_and_what_is_not_is_refused_recorded_and_told(court: Court) -> None:
    court.start()
    court.command("start", "v9", key=None)
    court.command("start", "v9", key=Key("2026-11", b"another secret of the same name!"))
    court.command("start", "v1")
    court.until(lambda: court.phase() == "stable")
    assert court.release is not None
    assert court.release.stable == "v1"
    unsigned, foreign = court.refusals()
    assert unsigned == "it is not signed"
    assert "its signature does not fit" in foreign
    (entry,) = court.entries()
    keys = Keyring([KEY])
    assert keys.mistake(entry.value or b"", entry.headers) is None
    assert dict(entry.headers)[HEADER].startswith(b"v1;key=2026-11;hmac=")

    court.forge(7, "evil")
    court.until(lambda: len(court.letters("control.releases")) == 1)
    assert "generation 7 of" in court.letters("control.releases")[0]
    assert "it is not signed" in court.letters("control.releases")[0]
    court.until(lambda: court.last().stable == "v1")
    assert court.entries()[-1].value == entry.value
    court.until(lambda: court.rules().count("forged_record") == 2)  # one for each topic
    court.command("start", "v2")
    court.until(lambda: court.last().phase == "canary")
    assert court.last().generation == 2


@pytest.mark.soak
def test_a_key_is_rotated_without_a_gap(court: Court, tmp_path: Path, topics_made: Settings) -> None:
    judge = court.start()
    court.command("start", "v1")
    court.until(lambda: court.phase() == "stable")
    judge.terminate()
    judge.wait()
    court.settings = written(topics_made, tmp_path, OTHER, KEY)
    judge = court.start()
    court.until(lambda: len(court.entries()) == 2)
    first, second = court.entries()
    assert first.value == second.value
    assert dict(second.headers)[HEADER].startswith(b"v1;key=2027-02;")
    court.command("start", "v2", key=KEY)
    court.until(lambda: court.phase() == "canary")
    judge.terminate()
    judge.wait()
    court.settings = written(topics_made, tmp_path, OTHER)
    court.start()
    court.command("abort", key=OTHER)
    court.until(lambda: court.phase() == "stable")
    assert court.last().generation == 3


@pytest.mark.soak
def test_what_was_unsigned_before_is_signed_by_a_judge_that_does_not_require_it_yet(
    bench: Court, tmp_path: Path, topics_made: Settings
) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    judge.terminate()
    judge.wait()
    bench.settings = written(topics_made, tmp_path, KEY, required=False)
    bench.start()
    bench.until(lambda: len(bench.entries()) == 2)
    unsigned, signed = bench.entries()
    assert unsigned.value == signed.value
    assert Keyring([KEY]).mistake(signed.value or b"", signed.headers) is None


def test_a_forced_rollback_is_signed_and_without_the_key_it_is_refused(
    court: Court, topics_made: Settings
) -> None:
    judge = court.start()
    court.command("start", "v1")
    court.command("start", "v2")
    court.until(lambda: court.phase() == "canary")
    court.forge(9, "evil")
    with pytest.raises(HeadgateError, match="are signed, but no key is configured here"):
        force_rollback(topics_made, court.model, "olga", None, now())
    assert judge.poll() is None, "a refusal fences nobody"
    forced = force_rollback(court.settings, court.model, "olga", None, now())
    assert (forced.generation, forced.stable) == (3, "v1")
    entry = court.entries()[-1]
    assert Keyring([KEY]).mistake(entry.value or b"", entry.headers) is None


@pytest.mark.soak
def test_an_older_generation_that_comes_late_is_written_over(bench: Court) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2", key=None)
    bench.until(lambda: bench.last().phase == "canary")
    bench.forge(1, "v0")
    bench.until(lambda: len(bench.entries()) == 4)
    assert (bench.last().generation, bench.last().candidate) == (2, "v2")


def test_a_second_writer_of_an_old_generation_undoes_nothing(bench: Court) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    old = bench.last()
    bench.command("start", "v2", key=None)
    bench.until(lambda: bench.last().phase == "canary")
    publish_release(bench.settings, 0, old)  # it takes the partition, as another judge would
    bench.command("pause", key=None)
    assert judge.wait(30) == 1
    bench.start()
    bench.until(lambda: bench.last().phase == "paused")
    assert [RELEASE.decode(entry.value).generation for entry in bench.entries()][-1] == 3


@pytest.mark.soak
def test_two_judges_at_once_decide_once(bench: Court) -> None:
    bench.start()
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for version in ("v2", "v3"):
        bench.command("start", version, key=None)
        bench.command("abort", key=None)
    bench.until(lambda: len(bench.releases()) == 5)
    assert [record.generation for record in bench.releases()] == [1, 2, 3, 4, 5]


def frozen(judge: subprocess.Popen[bytes]) -> None:
    judge.send_signal(signal.SIGSTOP)


def thawed(judge: subprocess.Popen[bytes]) -> None:
    judge.send_signal(signal.SIGCONT)


@pytest.mark.soak
def test_a_judge_that_is_frozen_past_its_session_undoes_nothing_when_it_thaws(bench: Court) -> None:
    bench.settings = msgspec.structs.replace(
        bench.settings, streams=msgspec.structs.replace(bench.settings.streams, session=6.0)
    )
    first = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2", key=None)
    bench.until(lambda: bench.phase() == "canary")
    frozen(first)
    bench.command("pause", key=None)
    bench.start()
    bench.until(lambda: bench.phase() == "paused")
    bench.command("abort", key=None)
    bench.until(lambda: bench.phase() == "stable")
    thawed(first)
    bench.command("start", "v3", key=None)
    bench.until(lambda: bench.phase() == "canary")
    assert [record.generation for record in bench.releases()] == [1, 2, 3, 4, 5]
    assert bench.last().candidate == "v3"


def test_a_forced_rollback_works_while_the_judge_is_frozen_and_stands_when_it_thaws(bench: Court) -> None:
    judge = bench.start()
    bench.until(lambda: bench.phase() == "stable")
    bench.command("start", "v2", key=None)
    bench.until(lambda: bench.phase() == "canary")
    frozen(judge)
    bench.command("promote", key=None)
    forced = force_rollback(bench.settings, bench.model, "olga", "it burns", now())
    assert (forced.generation, forced.stable) == (3, "v1")
    thawed(judge)
    assert judge.wait(30) == 1
    bench.start()
    bench.until(lambda: len(bench.refusals()) == 1)
    assert "no release is running" in bench.refusals()[0]
    assert (bench.last().generation, bench.last().phase) == (3, "rolled_back")


def test_an_ack_of_a_generation_that_never_was_is_a_dead_letter_and_no_more(bench: Court) -> None:
    bench.start()
    bench.until(lambda: bench.phase() == "stable")
    for number in range(8):
        bench.send(
            topics.ACKS,
            Ack(model=bench.model, worker=f"w{number}", ts=now(), kind="heartbeat", generation=1),
        )
    stray = Ack(model=bench.model, worker="w7", ts=now() - 40_000, kind="ack", generation=9, status="applied")
    bench.send(topics.ACKS, stray)
    bench.until(lambda: len(bench.letters("control.acks")) == 1)
    assert "generation: found 9 of worker w7, expected at most 1" in bench.letters("control.acks")[0]
    assert (bench.last().generation, bench.last().stable) == (1, "v1")
