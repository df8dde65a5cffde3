"""What stands in `control.releases`, whatever else is written there."""

from collections.abc import Sequence

from schemas.records import ENCODER, Release
from schemas.signing import Key, Keyring
from streams.judge.register import Register
from streams.log import Entry

OLD, NEW, FOREIGN = Key("old", b"a" * 32), Key("new", b"b" * 32), Key("new", b"c" * 32)


def value(generation: int, stable: str = "v1", model: str = "ranker") -> bytes:
    return ENCODER.encode(
        Release(
            model=model, generation=generation, ts=1_800_000_000_000 + generation, stable=stable,
            decision_id=f"d{generation}", reason="r",
        )
    )  # fmt: skip


class Log:
    """A topic with one partition."""

    def __init__(self, keys: Keyring) -> None:
        self.register = Register(keys)
        self._offset = 0

    def write(self, written: bytes, key: Key | None = None) -> list[int]:
        """Appends a record, signed with `key`; answers the generations that came into force."""
        headers: Sequence[tuple[str, bytes]] = [
            (name, signature or b"")
            for name, signature in (Keyring([key]) if key else Keyring()).sign(written)
        ]
        entry = Entry(0, self._offset, 1_800_000_000_000, b"ranker", written, headers)
        self._offset += 1
        return [record.generation for _, record in self.register.read([entry])]

    @property
    def standing(self) -> list[int]:
        return [record.generation for record in self.register.of(0)]

    def reasons(self) -> list[str]:
        return [bad.reason for bad in self.register.bad(0)]


def test_the_highest_generation_stands() -> None:
    log = Log(Keyring())
    assert [log.write(value(n)) for n in (1, 2, 3)] == [[1], [2], [3]]
    assert log.standing == [3]
    assert log.register.unsound(0) == []


def test_an_older_generation_that_comes_later_changes_nothing_and_what_stands_is_written_again() -> None:
    log = Log(Keyring())
    log.write(value(3, "v2"))
    assert log.write(value(2, "v1")) == []
    assert log.standing == [3]
    assert log.register.unsound(0) == [("ranker", value(3, "v2"))]
    assert log.register.unsound(0) == []


def test_what_is_written_again_is_sound_when_it_comes_back() -> None:
    log = Log(Keyring())
    log.write(value(3))
    log.write(value(2))
    ((_, again),) = log.register.unsound(0)
    assert log.write(again) == []
    assert log.register.unsound(0) == []
    assert log.standing == [3]


def test_another_record_of_the_same_generation_changes_nothing() -> None:
    log = Log(Keyring())
    log.write(value(3, "v2"))
    assert log.write(value(3, "v9")) == []
    assert [record.stable for record in log.register.of(0)] == ["v2"]
    assert log.register.unsound(0) == [("ranker", value(3, "v2"))]


def test_an_unsigned_or_forged_record_changes_nothing_is_told_and_is_written_over() -> None:
    for key in (None, FOREIGN, OLD):
        log = Log(Keyring([NEW]))
        log.write(value(3), NEW)
        assert log.write(value(4, "evil"), key) == []
        assert log.standing == [3]
        (bad,) = log.register.bad(0)
        assert (bad.model, bad.forged, bad.entry.offset) == ("ranker", True, 1)
        assert "generation 4 of ranker: it" in bad.reason
        assert log.register.unsound(0) == [("ranker", value(3))]
        assert log.reasons() == []


def test_a_record_that_is_none_is_told() -> None:
    log = Log(Keyring())
    assert log.write(b"{}") == []
    (bad,) = log.register.bad(0)
    assert (bad.model, bad.forged) == (None, False)
    assert "model" in bad.reason


def test_a_tombstone_is_nothing_to_take_in() -> None:
    register = Register(Keyring())
    register.read([Entry(0, 0, 0, b"ranker", None, [])])
    assert register.of(0) == []


def test_what_an_old_key_has_signed_stands_and_is_signed_anew() -> None:
    log = Log(Keyring([NEW, OLD]))
    assert log.write(value(3), OLD) == [3]
    assert log.register.unsound(0) == [("ranker", value(3))]
    log.write(value(3), NEW)
    assert log.register.unsound(0) == []


def test_what_was_unsigned_is_signed_while_signing_is_introduced() -> None:
    log = Log(Keyring([NEW], required=False))
    assert log.write(value(3)) == [3]
    assert log.register.unsound(0) == [("ranker", value(3))]
    assert log.reasons() == []


def test_models_stand_for_themselves() -> None:
    log = Log(Keyring())
    log.write(value(3, model="a"))
    log.write(value(7, model="b"))
    log.write(value(2, model="a"))
    assert sorted(log.standing) == [3, 7]
    assert log.register.unsound(0) == [("a", value(3, model="a"))]


def test_other_partitions_are_left_to_their_owners() -> None:
    register = Register(Keyring())
    register.read([Entry(1, 0, 0, b"ranker", value(3), []), Entry(1, 1, 0, b"ranker", value(2), [])])
    assert register.of(0) == []
    assert register.unsound(0) == []
    assert register.unsound(1) == [("ranker", value(3))]
