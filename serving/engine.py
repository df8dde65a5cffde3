"""From a batch of requests to predictions: routed to arms, joined into runs, ranked. No Kafka here; the clock
and the runtimes are arguments.

Three steps, each of which may be in a thread of its own (`pipeline.py`): `plan` reads and sorts a batch,
`run` is the model's turn, `answers` ranks what came of it. `renew` is for what waited between the first two.

Every request gets exactly one prediction of the stable or candidate arm, whatever is wrong with it, and one
more where a version shadows. A fault is that of one request: a run that fails is tried again request by
request, and what ran when an earlier worker ended runs alone, after the others (`suspects.py`).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.policies import Explore, Policy
from schemas.records import Arm, Prediction, Release, Request
from schemas.settings import Serving as Limits
from serving import batcher, flight
from serving.admission import Admission, Refusal
from serving.cache import Cache, Key, Scores
from serving.exploration import explored
from serving.fitness import Fitness
from serving.flight import Flight
from serving.inputs import InputError, Rows, rows
from serving.jobs import Clock, Job, Source, answer_to
from serving.meter import Meter
from serving.router import is_candidate, unit_of
from serving.runtime import Runtime
from serving.suspects import Suspects

NO_VERSION = "none"
"""The version of an answer to a request whose model has no release: the contract wants a word there."""


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


class Run(NamedTuple):
    """Requests that run together: for one version, in one arm, shown by one rule."""

    source: Source
    runtime: Runtime
    explore: Explore = Explore()


Outcome = Scores | str
"""What a run has for a request: its scores, in the order of its items, or what went wrong with it."""


class Ready(NamedTuple):
    """A request that can be run, its rows, and by what its scores are kept (None: they are not)."""

    job: Job
    inputs: Rows
    key: Key | None = None


class Leg(NamedTuple):
    """Requests for one run, as many as may run together. `state`: by which they were routed; None: a shadow,
    which is not routed."""

    run: Run
    members: Sequence[Ready]
    state: Serving | None = None


class Plan(NamedTuple):
    """What becomes of a batch: `answers` need no run, `legs` are run one after another."""

    answers: Sequence[Prediction]
    legs: Sequence[Leg]


class Ran(NamedTuple):
    """A leg that has run: each request's outcome, when it began (epoch ms), and how long it took (ms). Those
    `refused` were not worth a run any more when their turn came."""

    leg: Leg
    outcomes: Sequence[Outcome]
    refused: Sequence[tuple[Job, Refusal]] = ()
    started: float = 0.0
    infer_ms: float = 0.0


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

    def plan(self, jobs: Sequence[Job], states: Mapping[str, State], policies: Mapping[str, Policy]) -> Plan:
        """Sorts a batch: one prediction for each of `jobs`, and one for each that a version shadows, is among
        the answers or to be had from a leg.

        `states` and `policies` have an entry for each model among them. The legs for answers come first, then
        those for shadows, and those of suspects, one at a time.
        """
        said: list[Prediction] = []
        answers: dict[Run, list[Job]] = {}
        shadows: dict[Run, list[Job]] = {}
        for job in jobs:
            state = states[job.request.model]
            if isinstance(state, Unready):
                said.append(self._prediction(job, _nobody(state), status="error", error=state.reason))
                continue
            run = _route(job.request, state, policies[job.request.model])
            refused = self._refused(job, run)
            if refused is not None:
                said.append(refused)
                continue
            answers.setdefault(run, []).append(job)
            if state.shadow is not None:
                shadow = Run(Source("shadow", state.shadow.version, state.release.generation), state.shadow)
                if self._guilt(job, shadow) is None:
                    shadows.setdefault(shadow, []).append(job)
        legs: list[Leg] = []
        alone: list[Leg] = []
        for group in (answers, shadows):
            for run, members in group.items():
                routed = states[run.runtime.model] if group is answers else None
                assert not isinstance(routed, Unready)  # those have no runs
                together = []
                for one in self._read(run, members, said):
                    if self._suspects.alone(one.job.place, run.source.arm):
                        alone.append(Leg(run, [one], routed))
                    else:
                        together.append(one)
                most = min(run.runtime.manifest.batch.max, flight.MOST)
                legs += [Leg(run, together[n : n + most], routed) for n in range(0, len(together), most)]
        return Plan(said, legs + alone)

    def renew(self, leg: Leg, state: State, policy: Policy) -> Plan:
        """What becomes of a leg whose turn has come, now that its model is in `state`: the leg as it is, or,
        where the release has changed, its requests routed anew. Their shadows have legs of their own.
        """
        if leg.state is None or leg.state is state:
            return Plan([], [leg])
        model = leg.run.runtime.model
        if isinstance(state, Serving):
            state = state._replace(shadow=None)
        return self.plan([one.job for one in leg.members], {model: state}, {model: policy})

    def run(self, leg: Leg) -> Ran:
        """The model's turn. What may end the process happens in here, while the board says so."""
        refused: list[tuple[Job, Refusal]] = []
        if leg.run.source.arm != "shadow":  # nobody waits for a shadow
            leg, refused = self._admitted(leg)
        if not leg.members:
            return Ran(leg, (), refused)
        started = self._clock()
        try:
            outcomes = self._score(leg.run, leg.members)
        finally:
            self._board.end()
        return Ran(leg, outcomes, refused, started, self._clock() - started)

    def answers(self, ran: Ran) -> Iterator[Prediction]:
        """The predictions that come of a leg, in its order."""
        run = ran.leg.run
        for job, refusal in ran.refused:
            yield self._prediction(job, run.source, status=refusal.status, error=refusal.reason)
        infer_ms = round(ran.infer_ms, 3)
        for (job, _, key), outcome in zip(ran.leg.members, ran.outcomes, strict=True):
            if isinstance(outcome, str):
                prediction = self._prediction(job, run.source, status="error", error=outcome)
            else:
                prediction = self._ranked(job, run, outcome)
                if key is not None:
                    self._cache.put(key, outcome)
            prediction.queue_ms = round(max(0.0, ran.started - job.timestamp), 3)
            prediction.infer_ms = infer_ms
            prediction.batch = len(ran.leg.members)
            yield prediction

    def answer(
        self, jobs: Sequence[Job], states: Mapping[str, State], policies: Mapping[str, Policy]
    ) -> Iterator[Prediction]:
        """All three steps, one after another: what `plan` promises."""
        plan = self.plan(jobs, states, policies)
        yield from plan.answers
        for leg in plan.legs:
            yield from self.answers(self.run(leg))

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

    def _read(self, run: Run, jobs: Sequence[Job], said: list[Prediction]) -> Iterator[Ready]:
        """Those that have to be run, with their rows. What is known already, or cannot be read, is added to
        `said`."""
        hits = 0
        for job in jobs:
            key = self._cache.key(run.runtime, job.request) if self._cache.is_on else None
            scores = None if key is None else self._cache.get(key)
            if scores is not None:
                hits += 1
                prediction = self._ranked(job, run, scores)
                prediction.infer_ms = 0.0
                said.append(prediction)
                continue
            try:
                yield Ready(job, rows(job.request, run.runtime.manifest.inputs), key)
            except (InputError, MemoryError) as error:
                reason = str(error) or "inputs: larger than the memory that is left"
                said.append(self._prediction(job, run.source, status="error", error=reason))
        if self._cache.is_on:
            self._meter.cached(run.runtime.model, hits, len(jobs) - hits)

    def _admitted(self, leg: Leg) -> tuple[Leg, list[tuple[Job, Refusal]]]:
        """Those of a leg that are still worth its run, and the others."""
        found = [self._admission.refusal(one.job.request, one.job.timestamp) for one in leg.members]
        if not any(found):
            return leg, []
        pairs = list(zip(leg.members, found, strict=True))
        members = [one for one, refusal in pairs if refusal is None]
        return leg._replace(members=members), [
            (one.job, refusal) for one, refusal in pairs if refusal is not None
        ]

    def _score(self, run: Run, members: Sequence[Ready]) -> list[Outcome]:
        """Each request's scores, or what went wrong with it."""
        runtime = run.runtime
        counts = [len(next(iter(one.inputs.values()))) for one in members]
        self._board.begin(_label(run), run.source.arm, [one.job.place for one in members])
        began = time.perf_counter()
        mistake = ""
        try:
            scores = runtime.score(batcher.join([one.inputs for one in members]))
        except Exception as error:  # whatever a model raises is an answer to a request, not the worker's end
            mistake = f"{runtime.version}: {' '.join(str(error).split())}"
        seconds = time.perf_counter() - began
        self._meter.ran(runtime.model, runtime.version, len(members), sum(counts), seconds)
        if mistake and len(members) == 1:
            return [mistake]
        if mistake:
            return [found for one in members for found in self._score(run, [one])]
        parts: list[Outcome] = [*batcher.split(scores, counts)]
        if np.isfinite(scores).all():
            return parts
        unsound = f"{runtime.version}: found a score that is not a finite number"
        return [part if np.isfinite(part).all() else unsound for part in batcher.split(scores, counts)]

    def _ranked(self, job: Job, run: Run, scores: Scores) -> Prediction:
        items = job.request.items or []
        order = (-scores).argsort(kind="stable")  # of equal scores, the one that was asked for first
        prediction = self._prediction(job, run.source, status="ok")
        if run.explore.share > 0:
            order, prediction.propensities = explored(order, run.explore, job.request.request_id)
        prediction.items = [items[place] for place in order.tolist()]
        prediction.scores = scores[order].tolist()
        prediction.shown = len(items) if job.request.k is None else min(job.request.k, len(items))
        return prediction

    def _prediction(self, job: Job, source: Source, **outcome: Any) -> Prediction:
        return answer_to(job, source, self._worker, self._clock(), **outcome)


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
