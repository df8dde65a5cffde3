"""What a worker's process and its supervisor agree on: what the one is told on its standard input, how it
ends, and how both log."""

import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import msgspec

from schemas.errors import HeadgateError
from schemas.settings import Settings
from serving.fitness import Record
from serving.flight import ALONE
from serving.loads import Load
from serving.repository import Repository
from serving.suspects import Suspect

MENDABLE = os.EX_CONFIG
"""Exit status of a worker that has said what a person can mend: starting it again would not."""

PATIENCE = 25.0
"""Seconds that a worker has to end in good order."""


class Post(msgspec.Struct, kw_only=True, frozen=True):
    """A worker's post, which its successor takes over when it dies.

    `name`: as which it answers and acknowledges. `instance`: as which it is in its consumer group; the broker
    gives a successor the same partitions at once, and the others keep theirs. `parent`, `flight`: the process
    that started it (None: it stands alone), and the descriptor of the memory that they share.
    `suspects`: what ran when predecessors ended, `loads` what they loaded, `unfit`
    which versions ended several in a row. `restarts`: how many there were.
    """

    settings: Settings
    models: str
    only: Sequence[str] = ()
    threads: int = 1
    name: str
    instance: str
    parent: int | None = None
    flight: int = ALONE
    suspects: Sequence[Suspect] = ()
    loads: Sequence[Load] = ()
    unfit: Sequence[Record] = ()
    restarts: int = 0


def post(settings: Settings, models: Path, only: Sequence[str] = (), threads: int = 1) -> Post:
    """A new post for the repository `models` (of its models `only` those named).

    `threads`: CPU threads of one model run. Raises `HeadgateError` for a folder or a model that is missing.
    """
    repository = Repository(models)
    for model in only:
        if model not in repository.models():
            known = ", ".join(repository.models()) or "none"
            raise HeadgateError(f"{models}: found no model {model!r}, expected one of: {known}")
    name = f"{socket.gethostname()}-{os.getpid()}"
    return Post(
        settings=settings,
        models=str(models),
        only=list(dict.fromkeys(only)),
        threads=threads,
        name=name,
        # Containers may share a name and a process id; two members of one instance id would fence each other.
        instance=f"{name}-{uuid4().hex[:12]}",
    )


def log_to_stderr() -> None:
    """What a worker's processes log, and how."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
