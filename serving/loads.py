"""Which versions end the worker that loads them. Pure, but for the board that says what is being loaded.

A version that crashes its process at every start would keep a worker from serving anything. So the supervisor
counts: what was being loaded, with no request running, when two workers in a row ended is not loaded again
until its files change, and its release is acknowledged as failed like that of any broken version.

A load that does not end (`[serving] load_s`) is not tried a second time: that a worker ends while it loads
can be a coincidence, but this is not one, and a worker that starts serves nothing until its loads are over.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from schemas.errors import HeadgateError
from serving.flight import Flight
from serving.repository import Fingerprint, Repository

TRIES = 2
"""Workers in a row that must end."""


class Load(msgspec.Struct):
    """A version (`model/version`), its files, how workers ended that loaded them, and whether that is the
    version's own doing."""

    label: str
    files: Fingerprint
    ends: list[str]
    guilty: bool = False


class Loads:
    """Versions during whose loading a worker ended. The supervisor adds, its workers ask."""

    def __init__(self, known: Iterable[Load] = ()) -> None:
        self._known = {(load.label, load.files): load for load in known}

    def list(self) -> list[Load]:
        """All: what the next worker is told."""
        return list(self._known.values())

    def add(self, label: str, files: Fingerprint, end: str) -> None:
        """A worker ended while it loaded a version; `end` says how."""
        load = self._known.setdefault((label, files), Load(label, files, []))
        load.ends.append(end)
        load.guilty = load.guilty or len(load.ends) >= TRIES

    def condemn(self, label: str, files: Fingerprint, end: str) -> None:
        """A worker was ended because a load did not end; `end` says when."""
        self.add(label, files, end)
        self._known[label, files].guilty = True

    def forget_first_tries(self) -> None:
        """A worker got past its loads: what ended only one before has not done it again."""
        self._known = {key: load for key, load in self._known.items() if load.guilty}

    def reason(self, label: str, files: Fingerprint) -> str | None:
        """Why a version must not be loaded; None where it may."""
        load = self._known.get((label, files))
        if load is None or not load.guilty:
            return None
        times = "once" if len(load.ends) == 1 else f"{len(load.ends)} times"
        ends = " and then ".join(load.ends)
        return f"{label}: loading it has ended the worker {times}: {ends}; mend its files"


class Guard:
    """A worker's side: every load goes through `loading`."""

    def __init__(self, repository: Repository, board: Flight, loads: Loads) -> None:
        self._repository = repository
        self._board = board
        self._loads = loads

    @contextmanager
    def loading(self, model: str, version: str) -> Iterator[None]:
        """Within the block the board says what is being loaded. Raises `HeadgateError` for a version that has
        ended workers."""
        label = f"{model}/{version}"
        reason = self._loads.reason(label, self._repository.fingerprint(model, version))
        if reason is not None:
            raise HeadgateError(reason)
        self._board.load(label)
        try:
            yield
        finally:
            self._board.load("")
