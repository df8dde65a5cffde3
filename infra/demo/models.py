"""The demo's model repository: three versions of one ranker, as a training pipeline would leave them.

- v1, trained on what was rated before the replay: the first 80 % of the ratings by time
- v2, retrained on that and the replay's first act, 90 %: as good or better
- v3, which is v2 with its item index shifted by one: a release that must not stay
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import onnx

from infra.demo import graph, ranker
from infra.demo.movielens import MovieLens, Ratings
from infra.demo.profile import profile
from infra.demo.ranker import Ranker
from infra.demo.visits import FIRST, HISTORY, SECOND, before
from infra.demo.wheels import CACHE
from schemas.errors import HeadgateError
from schemas.records import Profile

MODEL = "ranker"
STABLE, RETRAINED, BROKEN = "v1", "v2", "v3"

SOURCES = ("recbole.txt", "movielens.py", "visits.py", "ranker.py", "graph.py", "profile.py", "models.py")
"""What the models are made of: a change in any of these trains them again."""


class Build(NamedTuple):
    """One version, as it will be served. `origin` says in words what it was made from."""

    version: str
    ranker: Ranker
    profile: Profile
    origin: str


def train(data: MovieLens, seed: int, created: int) -> tuple[Build, ...]:
    """The three versions, trained at `created` (epoch ms) in seconds; equal seeds give equal models."""
    stable = _build(data, STABLE, before(data, FIRST), seed, created)
    retrained = _build(data, RETRAINED, before(data, SECOND), seed, created)
    broken = Build(
        BROKEN,
        retrained.ranker.shifted(),
        # What built it believed in it, so its profile is that of v2.
        msgspec.structs.replace(retrained.profile, version=BROKEN),
        f"{RETRAINED}, its tables written without row 0",
    )
    return stable, retrained, broken


def export(folder: Path, builds: Iterable[Build]) -> None:
    """Writes `folder/ranker/<version>/`: `model.onnx`, `model.toml` and `profile.json` of each build."""
    for build in builds:
        target = folder / MODEL / build.version
        target.mkdir(parents=True)
        onnx.save_model(graph.build(build.ranker), str(target / "model.onnx"))
        (target / "model.toml").write_text(_manifest(build))
        (target / "profile.json").write_bytes(msgspec.json.encode(build.profile))


def repository(data: MovieLens, seed: int, cache: Path = CACHE) -> Path:
    """A folder of the three versions trained with `seed`; trained once, then taken from `cache`.

    Raises `HeadgateError` where the cache cannot be written.
    """
    folder = cache / f"models-{seed}-{_code()}"
    if folder.exists():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache))
        try:
            export(draft, train(data, seed, created=int(time.time() * 1000)))
            _publish(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise HeadgateError(f"{folder}: cannot keep the models there ({error}); is it writable?") from error
    return folder


def _build(data: MovieLens, version: str, ratings: Ratings, seed: int, created: int) -> Build:
    fitted, held = ranker.fit(data, ratings, seed)
    reference = profile(data, ratings, held, model=MODEL, version=version, created=created)
    return Build(version, fitted, reference, f"the first {len(ratings.item):,} ratings, seed {seed}")


def _publish(draft: Path, folder: Path) -> None:
    """Moves a finished repository to its place; one that another process put there meanwhile is as good."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _code() -> str:
    """A hash of what the models depend on: the code and the data's pin, and the libraries' versions."""
    digest = hashlib.sha256(f"numpy {np.__version__} onnx {onnx.__version__}".encode())
    for source in SOURCES:
        digest.update(Path(__file__).with_name(source).read_bytes())
    return digest.hexdigest()[:12]


def _manifest(build: Build) -> str:
    return f"""\
[model]
name = "{MODEL}"
version = "{build.version}"
description = "ranks films by what a user rated last; made from {build.origin}"

# A dimension of -1 is the rows of a batch: one a candidate, of all its requests.
[inputs.history]
dtype = "int64"
shape = [-1, {HISTORY}]

[inputs.item]
dtype = "int64"
shape = [-1, 1]

[output]
name = "score"
dtype = "float32"
shape = [-1]

[batch]
max = 32        # requests
wait_ms = 2
"""
