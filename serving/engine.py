"""From a batch of requests to predictions: routed to arms, joined into runs, ranked. No Kafka here; the clock
and the runtimes are arguments.

Every request gets exactly one prediction of the stable or candidate arm, whatever is wrong with it, and one
more where a version shadows. A fault is that of one request: a run that fails is tried again request by
request.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.policies import Policy
from schemas.records import Arm, Prediction, Release, Request
from serving import batcher
from serving.inputs import InputError, Rows, rows
from serving.router import is_candidate, unit_of
from serving.runtime import Runtime

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
    """A request and its Kafka timestamp (ms)."""

    request: Request
    timestamp: int


class Source(NamedTuple):
    """Whose answer it is, as its record says."""

    arm: Arm
    version: str
    generation: int | None


class Run(NamedTuple):
    """Requests that run together: for one version, in one arm."""

    source: Source
    runtime: Runtime


class Engine:
    """Answers batches, as worker `worker`, with the runtimes that it is given."""

    def __init__(self, worker: str, clock: Clock) -> None:
        self._worker = worker
        self._clock = clock

    def answer(
        self, jobs: Sequence[Job], states: Mapping[str, State], policies: Mapping[str, Policy]
    ) -> Iterator[Prediction]:
        """One prediction for each of `jobs`, in any order, then those of the shadows.

        `states` and `policies` have an entry for each model among them.
        """
        runs: dict[Run, list[Job]] = {}
        shadows: dict[Run, list[Job]] = {}
        for job in jobs:
            request = job.request
            state = states[request.model]
            if isinstance(state, Unready):
                yield self._prediction(job, _nobody(state), status="error", error=state.reason)
                continue
            run = _route(request, state, policies[request.model])
            if request.deadline_ms is not None and self._clock() > job.timestamp + request.deadline_ms:
                yield self._prediction(
                    job,
                    run.source,
                    status="timeout",
                    error=f"older than its deadline_ms of {request.deadline_ms:g}",
                )
                continue
            runs.setdefault(run, []).append(job)
            if state.shadow is not None:
                shadow = Run(Source("shadow", state.shadow.version, state.release.generation), state.shadow)
                shadows.setdefault(shadow, []).append(job)
        for group in (runs, shadows):
            for run, members in group.items():
                most = run.runtime.manifest.batch.max
                for first in range(0, len(members), most):
                    yield from self._run(run, members[first : first + most])

    def _run(self, run: Run, jobs: Sequence[Job]) -> Iterator[Prediction]:
        good: list[Job] = []
        inputs: list[Rows] = []
        for job in jobs:
            try:
                inputs.append(rows(job.request, run.runtime.manifest.inputs))
                good.append(job)
            except InputError as error:
                yield self._prediction(job, run.source, status="error", error=str(error))
        if not good:
            return
        started = self._clock()
        outcomes = _score(run.runtime, inputs)
        infer_ms = self._clock() - started
        for job, outcome in zip(good, outcomes, strict=True):
            queue_ms = max(0.0, started - job.timestamp)
            if isinstance(outcome, str):
                prediction = self._prediction(job, run.source, status="error", error=outcome)
            else:
                prediction = self._ranked(job, run, outcome)
            prediction.queue_ms, prediction.infer_ms, prediction.batch = (
                round(queue_ms, 3),
                round(infer_ms, 3),
                len(good),
            )
            yield prediction

    def _ranked(self, job: Job, run: Run, scores: npt.NDArray[np.floating]) -> Prediction:
        items = job.request.items or []
        order = np.argsort(-scores, kind="stable")  # of equal scores, the one that was asked for first
        prediction = self._prediction(job, run.source, status="ok")
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
    return Run(Source(arm, runtime.version, release.generation), runtime)


def _score(runtime: Runtime, inputs: Sequence[Rows]) -> list[npt.NDArray[np.floating] | str]:
    """Each request's scores, or what went wrong with it."""
    counts = [len(next(iter(one.values()))) for one in inputs]
    try:
        scores = batcher.split(runtime.score(batcher.join(inputs)), counts)
    except Exception as error:  # whatever a model raises is an answer to a request, not the end of the worker
        if len(inputs) == 1:
            return [f"{runtime.version}: {' '.join(str(error).split())}"]
        return [outcome for one in inputs for outcome in _score(runtime, [one])]
    return [
        part if np.isfinite(part).all() else f"{runtime.version}: found a score that is not a finite number"
        for part in scores
    ]
