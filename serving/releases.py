"""From the releases that are wanted to the versions that serve: loads, swaps, keeps, evicts, acknowledges. No
Kafka here.

One thread calls `take` and `step`; batches, in another, only read `state`, which is replaced whole. Loading
happens in a third, so neither waits for it, and a release whose versions are all in memory is applied at
once, even while another one loads.

Pinned are the versions of what is wanted and of what is in force, and the last other stable one. What is not
stays in memory while the budget has room, and goes in the order in which it ceased to be needed.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple

from schemas.errors import HeadgateError
from schemas.records import Release
from serving.engine import Serving, State, Unready
from serving.repository import Fingerprint, Repository, size_of
from serving.runtime import Runtime
from streams.join import heap

log = logging.getLogger("headgate.serving")


class Word(NamedTuple):
    """What a worker has to say of a generation: the contract's ack, without its sender and time."""

    model: str
    generation: int
    status: Literal["applied", "loading", "failed"]
    loaded: list[str]
    error: str | None = None


class Held(NamedTuple):
    """A version in memory, and the files that it was loaded from. What it takes there cannot be told from
    what others take; its files' size stands for that."""

    runtime: Runtime
    files: Fingerprint


class Standing(NamedTuple):
    """How it stands with a model: the generation in force (0: none), the versions in memory, the generation
    that is wanted (0: none), why that cannot be, where it is known; and whether requests are answered all the
    same, by the stable version alone."""

    applied: int
    loaded: list[str]
    wanted: int = 0
    error: str | None = None
    makeshift: bool = False


class Attempt(NamedTuple):
    """A try to load a version: for which generation, its files as they were then, and why it failed, if it
    did."""

    generation: int
    files: Fingerprint
    reason: str | None = None


class _Model:
    """One model: what is wanted, what is in force, what is in memory and on its way there."""

    def __init__(self) -> None:
        self.wanted: Release | None = None
        self.applied = 0
        self.state: State | None = None
        self.previous: str | None = None
        self.loaded: dict[str, Held] = {}
        self.loading: dict[str, Future[Runtime]] = {}
        self.attempts: dict[str, Attempt] = {}
        self.last: Word | None = None
        self.refused: str | None = None

    @property
    def files(self) -> dict[str, Fingerprint]:
        """Of the versions in memory and on their way there."""
        loaded = {version: held.files for version, held in self.loaded.items()}
        return loaded | {version: self.attempts[version].files for version in self.loading}

    @property
    def pinned(self) -> set[str]:
        """The versions that must stay in memory, or come there."""
        releases = [self.wanted] if self.wanted is not None else []
        if self.state is not None and self.state.release is not None:
            releases.append(self.state.release)
        named = {version for release in releases for version in versions(release)}
        return named if self.previous is None else {*named, self.previous}


def versions(release: Release) -> list[str]:
    """Those that a release needs in memory, the stable one first."""
    named = (release.stable, release.candidate, release.shadow)
    return list(dict.fromkeys(version for version in named if version is not None))


class Releases:
    """What serves each model. `load` reads a version of a model into memory, or raises; `say` is told what
    becomes of a release. `budget`: bytes that versions in memory may take together, by their files; 0: only
    what is pinned stays, whatever it takes."""

    def __init__(
        self,
        repository: Repository,
        load: Callable[[str, str], Runtime],
        say: Callable[[Word], None],
        budget: int = 0,
    ) -> None:
        self._repository = repository
        self._load = load
        self._say = say
        self._budget = budget
        self._models: dict[str, _Model] = {}
        self._spare: dict[tuple[str, str], None] = {}
        """Versions in memory that nothing pins, in the order in which they ceased to be needed."""
        self._loader = ThreadPoolExecutor(1, "loader")

    def take(self, release: Release) -> bool:
        """Wants `release`, unless it is no newer than what is wanted already. Answers whether it is."""
        model = self._models.setdefault(release.model, _Model())
        if model.wanted is not None and release.generation <= model.wanted.generation:
            return False
        model.wanted = release
        return True

    def refuse(self, release: Release, reason: str) -> None:
        """Says that `release` is not to be trusted; what is in force serves on. Of old ones nothing is said:
        the topic may hold them from before.
        """
        model = self._models.setdefault(release.model, _Model())
        if model.wanted is None or release.generation > model.wanted.generation:
            model.refused = f"generation {release.generation} is refused: {reason}"
            self._tell(model, release, "failed", model.refused)

    def step(self, served: Iterable[str]) -> bool:
        """Brings the `served` models nearer to what is wanted; never waits. Answers whether something is
        still being loaded. What goes wrong is one model's: its release has failed, the others are steered on.
        """
        for name in served:
            model = self._models.get(name)
            if model is None or model.wanted is None:
                continue
            try:
                _harvest(model, model.wanted)
                if model.wanted.generation > model.applied:
                    self._approach(model, model.wanted)
            except Exception as error:
                if self._fail(model, model.wanted, f"{type(error).__name__}: {error}"):
                    log.exception("generation %d of model %s", model.wanted.generation, name)
        return any(model.loading for model in self._models.values())

    def state(self, name: str) -> State:
        """How a model is served now."""
        model = self._models.get(name)
        if model is None or model.wanted is None:
            refused = None if model is None else model.refused
            start = f"headgate release start {name} VERSION"
            return Unready(f"no release of model {name} yet{f' ({refused})' if refused else ''}: {start}")
        if model.state is None:
            return Unready(
                f"generation {model.wanted.generation} of model {name} is being loaded", model.wanted
            )
        return model.state

    def standing(self, served: Iterable[str]) -> Mapping[str, Standing]:
        """How it stands with each of the `served` models; may be asked by any thread."""
        found = ((name, self._models.get(name)) for name in served)
        return {name: _standing(model) if model else Standing(0, []) for name, model in found}

    def serving(self) -> list[str]:
        """The models of which a version is in force, whatever has become of their files."""
        return [name for name, model in self._models.items() if isinstance(model.state, Serving)]

    def limits(self) -> tuple[int, float]:
        """How many requests to collect, and how many ms to wait for them: the largest batch and the shortest
        wait of all in force."""
        states = [model.state for model in list(self._models.values())]  # another thread adds models
        batches = [state.stable.manifest.batch for state in states if isinstance(state, Serving)]
        return max((b.max for b in batches), default=1), min((b.wait_ms for b in batches), default=0.0)

    def close(self) -> None:
        """Loads no more; does not wait for what is being loaded."""
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _approach(self, model: _Model, wanted: Release) -> None:
        self._sort_out(wanted.model, model)
        for version in versions(wanted):
            files = self._repository.fingerprint(wanted.model, version)
            attempt = model.attempts.get(version)
            tried = attempt is not None and attempt[:2] == (wanted.generation, files)
            if version not in model.loaded and version not in model.loading and not tried:
                model.attempts[version] = Attempt(wanted.generation, files, self._make_room(files))
                if model.attempts[version].reason is None:
                    model.loading[version] = self._loader.submit(self._load, wanted.model, version)
                    self._tell(model, wanted, "loading")
        if model.loading.keys() & set(versions(wanted)):
            return
        reasons = [
            model.attempts[version].reason for version in versions(wanted) if version not in model.loaded
        ]
        if reasons:
            self._fail(model, wanted, "; ".join(reason for reason in reasons if reason))
        else:
            self._apply(model, wanted)

    def _apply(self, model: _Model, release: Release) -> None:
        """Swaps, forgets what is not needed any more, and says so last: an ack is about what is, not about
        what will be."""
        before = model.state
        if isinstance(before, Serving) and before.release.stable != release.stable:
            model.previous = before.release.stable
        model.state = _serving(release, model.loaded)
        model.applied = release.generation
        model.attempts = {version: model.attempts[version] for version in model.loading}
        self._sort_out(release.model, model)
        self._evict(self._budget)
        self._tell(model, release, "applied")
        heap.give_back()  # what a dropped version leaves in pieces would add up over many swaps

    def _sort_out(self, name: str, model: _Model) -> None:
        """Notes what nothing pins any more, and what something pins again; of that, versions whose files are
        not those that were loaded are dropped, to be loaded anew."""
        for version, held in list(model.loaded.items()):
            if version not in model.pinned:
                self._spare.setdefault((name, version))
            elif (name, version) in self._spare:
                del self._spare[name, version]
                if held.files != self._repository.fingerprint(name, version):
                    del model.loaded[version]

    def _evict(self, most: int) -> int:
        """Drops spare versions, the oldest first, until what is in memory or on its way there has at most
        `most` bytes, if it can. Answers how many it has then."""
        sizes = {
            (name, version): size_of(files)
            for name, model in self._models.items()
            for version, files in model.files.items()
        }
        total = sum(sizes.values())
        while total > most and self._spare:
            name, version = oldest = next(iter(self._spare))
            del self._spare[oldest], self._models[name].loaded[version]
            total -= sizes[oldest]
        return total

    def _make_room(self, files: Fingerprint) -> str | None:
        """Evicts what has to go before a version of these `files` is loaded; answers why it cannot be, if it
        cannot."""
        size = size_of(files)
        taken = self._evict(max(0, self._budget - size))
        if not self._budget or taken + size <= self._budget:
            return None
        found, needed, budget = (f"{part / 2**20:,.0f} MiB" for part in (size, taken, self._budget))
        rest = f", but {needed} of them are needed for what serves" if taken else ""
        return (
            f"found {found} of files, expected them to fit into the budget's {budget}{rest}; "
            "raise memory_mib under [serving] in headgate.toml"
        )

    def _fail(self, model: _Model, release: Release, reason: str) -> bool:
        """The old state serves on. Where there is none (a worker that starts just now), the stable version
        alone is better than no answer. Answers whether that is news."""
        if not isinstance(model.state, Serving):
            stable = model.loaded.get(release.stable)
            model.state = Serving(release, stable.runtime) if stable else Unready(reason, release)
        return self._tell(model, release, "failed", reason)

    def _tell(
        self,
        model: _Model,
        release: Release,
        status: Literal["applied", "loading", "failed"],
        error: str | None = None,
    ) -> bool:
        """Says it, unless it was the last that was said. Answers whether it was not."""
        word = Word(release.model, release.generation, status, sorted(model.loaded), error)
        if word == model.last:
            return False
        model.last = word
        self._say(word)
        return True


def _standing(model: _Model) -> Standing:
    last = model.last
    failed = last is not None and last.status == "failed" and last.generation > model.applied
    return Standing(
        model.applied,
        sorted(model.loaded),
        0 if model.wanted is None else model.wanted.generation,
        last.error if last is not None and failed else None,
        not model.applied and isinstance(model.state, Serving),
    )


def _harvest(model: _Model, wanted: Release) -> None:
    """Takes what the loader has finished; what is not wanted any more is dropped, or never begun."""
    for version, future in list(model.loading.items()):
        needed = version in versions(wanted)
        if not needed:
            future.cancel()
        if not future.done():
            continue
        del model.loading[version]
        error = None if future.cancelled() else future.exception()
        if error is not None:
            model.attempts[version] = model.attempts[version]._replace(reason=_reason(version, error))
        elif needed:
            model.loaded[version] = Held(future.result(), model.attempts[version].files)


def _reason(version: str, error: BaseException) -> str:
    return (
        str(error)
        if isinstance(error, HeadgateError)
        else f"version {version}: {type(error).__name__}: {error}"
    )


def _serving(release: Release, loaded: Mapping[str, Held]) -> Serving:
    candidate, shadow = release.candidate, release.shadow
    return Serving(
        release,
        loaded[release.stable].runtime,
        loaded[candidate].runtime if candidate else None,
        loaded[shadow].runtime if shadow else None,
    )
