"""From a batch of requests to predictions: routed to arms, joined into runs, ranked. No Kafka here; the clock
and the runtimes are arguments.

Every request gets exactly one prediction of the stable or candidate arm, whatever is wrong with it, and one
more where a version shadows. A fault is that of one request: a run that fails is tried again request by
request, and what ran when an earlier worker ended runs alone, after the others (`suspects.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.policies import Explore, Policy
from schemas.records import Arm, Prediction, Release, Request
from schemas.settings import Serving as Limits
from serving import batcher, flight
from serving.admission import Admission
from serving.cache import Cache, Scores
from serving.exploration import explored
from serving.fitness import Fitness
from serving.flight import NOWHERE, Flight, Place
from serving.inputs import InputError, Rows, rows
from serving.meter import Meter
from serving.router import is_candidate, unit_of
from serving.runtime import Runtime
from serving.suspects import Suspects

NO_VERSION = "none"
"""The version of an answer to a request whose model has no release: the contract wants a word there."""

Clock = Callable[[], float]
"""Wall time in epoch ms."""


class Serving(NamedTuple):
    """A model as a batch sees it: a release made so. Replaced whole, never changed."""

    release: Release
    stable: Runtime
    candidate: Runtime | None = None
    shadow: Runtime | None = None


class Unready(NamedTuple):
    """A model that cannot be answered for, and why."""

    reason: str
    release: Release | None = None


State = Serving | Unready


class Job(NamedTuple):
    """A request, its Kafka timestamp (ms), and where it stands in the log."""

    request: Request
    timestamp: int
    place: Place = NOWHERE


class Source(NamedTuple):
    """Whose answer it is, as its record says."""

    arm: Arm
    version: str
    generation: int | None


class Run(NamedTuple):
    """Requests that run together: for one version, in one arm, shown by one rule."""

    source: Source
    runtime: Runtime
    explore: Explore = Explore()


Outcome = Scores | str
"""What a run has for a request: its scores, in the order of its items, or what went wrong with it."""


class Engine:
    """Answers batches, as worker `worker`, with the runtimes that it is given.

    `clock` is the wall's, in epoch ms. `board` is told what runs, `suspects` know which
    requests must not run with others, or at all, `fitness` which versions; `meter` counts.
    """

    def __init__(
        self,
        worker: str,
        clock: Clock,
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        board: Flight | None = None,
        suspects: Suspects | None = None,
        fitness: Fitness | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._admission = Admission(limits, clock)
        self._cache = Cache(int(limits.cache_mib * 2**20), limits.cache_s, time.monotonic)
        self._board = board or Flight()
        self._suspects = suspects or Suspects()
        self._fitness = fitness or Fitness()
        self._meter = meter or Meter()

    def answer(
        self, jobs: Sequence[Job], states: Mapping[str, State], policies: Mapping[str, Policy]
    ) -> Iterator[Prediction]:
        """One prediction for each of `jobs`, in any order, and one for each that a version shadows.

        `states` and `policies` have an entry for each model among them. What is not run comes first, then the
        runs for answers, those for shadows, and those of suspects, one at a time.
        """
        answers: dict[Run, list[Job]] = {}
        shadows: dict[Run, list[Job]] = {}
        for job in jobs:
            state = states[job.request.model]
            if isinstance(state, Unready):
                yield self._prediction(job, _nobody(state), status="error", error=state.reason)
                continue
            run = _route(job.request, state, policies[job.request.model])
            refused = self._refused(job, run)
            if refused is not None:
                yield refused
                continue
            answers.setdefault(run, []).append(job)
            if state.shadow is not None:
                shadow = Run(Source("shadow", state.shadow.version, state.release.generation), state.shadow)
                if self._guilt(job, shadow) is None:
                    shadows.setdefault(shadow, []).append(job)
        suspects: list[tuple[Run, list[Job]]] = []
        for group in (answers, shadows):
            for run, members in group.items():
                together = []
                for job in members:
                    if self._suspects.alone(job.place, run.source.arm):
                        suspects.append((run, [job]))
                    else:
                        together.append(job)
                most = min(run.runtime.manifest.batch.max, flight.MOST)
                for first in range(0, len(together), most):
                    yield from self._run(run, together[first : first + most])
        for run, alone in suspects:
            yield from self._run(run, alone)

    def _refused(self, job: Job, run: Run) -> Prediction | None:
        """The answer to a request that must not be run, or need not be."""
        guilt = self._guilt(job, run)
        if guilt is not None:
            return self._prediction(job, run.source, status="error", error=guilt)
        refusal = self._admission.refusal(job.request, job.timestamp)
        if refusal is not None:
            return self._prediction(job, run.source, status=refusal.status, error=refusal.reason)
        return None

    def _guilt(self, job: Job, run: Run) -> str | None:
        """Why the request, or the version, must not run; None where both may."""
        reason = self._suspects.reason(job.place, run.source.arm)
        if reason is not None:
            return f"{run.runtime.version}: {reason}"
        return self._fitness.reason(_label(run), time.monotonic())

    def _run(self, run: Run, jobs: Sequence[Job]) -> Iterator[Prediction]:
        if self._cache.is_on:
            known = [self._cache.get(self._cache.key(run.runtime, job.request)) for job in jobs]
            hits = [(job, scores) for job, scores in zip(jobs, known, strict=True) if scores is not None]
            jobs = [job for job, scores in zip(jobs, known, strict=True) if scores is None]
            self._meter.cached(run.runtime.model, len(hits), len(jobs))
            for job, scores in hits:
                prediction = self._ranked(job, run, scores)
                prediction.infer_ms = 0.0
                yield prediction
        if jobs:
            yield from self._executed(run, jobs)

    def _executed(self, run: Run, jobs: Sequence[Job]) -> Iterator[Prediction]:
        """The answers of one run. What may end the process happens while the board says so."""
        good: list[Job] = []
        inputs: list[Rows] = []
        mistakes: list[tuple[Job, str]] = []
        try:
            self._aboard(run, jobs)
            for job in jobs:
                try:
                    inputs.append(rows(job.request, run.runtime.manifest.inputs))
                    good.append(job)
                except InputError as error:
                    mistakes.append((job, str(error)))
            started = self._clock()
            outcomes = self._score(run, good, inputs) if good else []
            infer_ms = self._clock() - started if good else 0.0
        finally:
            self._board.end()
        for job, mistake in mistakes:
            yield self._prediction(job, run.source, status="error", error=mistake)
        for job, outcome in zip(good, outcomes, strict=True):
            if isinstance(outcome, str):
                prediction = self._prediction(job, run.source, status="error", error=outcome)
            else:
                prediction = self._ranked(job, run, outcome)
                if self._cache.is_on:
                    self._cache.put(self._cache.key(run.runtime, job.request), outcome)
            prediction.queue_ms = round(max(0.0, started - job.timestamp), 3)
            prediction.infer_ms = round(infer_ms, 3)
            prediction.batch = len(good)
            yield prediction

    def _score(self, run: Run, jobs: Sequence[Job], inputs: Sequence[Rows]) -> list[Outcome]:
        """Each request's scores, or what went wrong with it."""
        runtime = run.runtime
        counts = [len(next(iter(one.values()))) for one in inputs]
        began = time.perf_counter()
        try:
            scores = batcher.split(runtime.score(batcher.join(inputs)), counts)
        except Exception as error:  # whatever a model raises is an answer to a request, not the worker's end
            if len(jobs) == 1:
                return [f"{runtime.version}: {' '.join(str(error).split())}"]
            return [found for one in zip(jobs, inputs, strict=True) for found in self._alone(run, *one)]
        finally:
            seconds = time.perf_counter() - began
            self._meter.ran(runtime.model, runtime.version, len(jobs), sum(counts), seconds)
        return [
            part
            if np.isfinite(part).all()
            else f"{runtime.version}: found a score that is not a finite number"
            for part in scores
        ]

    def _alone(self, run: Run, job: Job, inputs: Rows) -> list[Outcome]:
        self._aboard(run, [job])
        return self._score(run, [job], [inputs])

    def _aboard(self, run: Run, jobs: Sequence[Job]) -> None:
        self._board.begin(_label(run), run.source.arm, [job.place for job in jobs])

    def _ranked(self, job: Job, run: Run, scores: Scores) -> Prediction:
        items = job.request.items or []
        order = np.argsort(-scores, kind="stable")  # of equal scores, the one that was asked for first
        prediction = self._prediction(job, run.source, status="ok")
        if run.explore.share > 0:
            order, prediction.propensities = explored(order, run.explore, job.request.request_id)
        prediction.items = [items[place] for place in order.tolist()]
        prediction.scores = scores[order].tolist()
        prediction.shown = len(items) if job.request.k is None else min(job.request.k, len(items))
        return prediction

    def _prediction(self, job: Job, source: Source, **outcome: Any) -> Prediction:
        now = self._clock()
        return Prediction(
            request_id=job.request.request_id,
            ts=int(now),
            model=job.request.model,
            version=source.version,
            arm=source.arm,
            generation=source.generation,
            latency_ms=round(max(0.0, now - job.timestamp), 3),
            worker=self._worker,
            **outcome,
        )


def _label(run: Run) -> str:
    return f"{run.runtime.model}/{run.runtime.version}"


def _nobody(state: Unready) -> Source:
    if state.release is None:
        return Source("stable", NO_VERSION, None)
    return Source("stable", state.release.stable, state.release.generation)


def _route(request: Request, state: Serving, policy: Policy) -> Run:
    release = state.release
    arm: Arm = "stable"
    runtime = state.stable
    if state.candidate is not None and is_candidate(
        release.salt, unit_of(request, policy.unit), release.weight
    ):
        arm, runtime = "candidate", state.candidate
    return Run(Source(arm, runtime.version, release.generation), runtime, policy.explore)
