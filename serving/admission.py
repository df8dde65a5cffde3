"""Whether a request is still worth a run when its turn comes. Pure; time comes in.

Kafka is the queue, so what bounds it is how long requests have waited in it: the time since their Kafka
timestamp. It is known of each request at no cost, it is what users feel, and it needs no idea of how many
requests a second a model can take, which a bound on their number would.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from schemas.records import Request
from schemas.settings import Serving


class Refusal(NamedTuple):
    """How a request is answered that is not worth a run, and why."""

    status: Literal["timeout", "shed"]
    reason: str


class Admission:
    """The bounds of a worker, as its settings have them; by default there are none but a request's own."""

    def __init__(self, settings: Serving, clock: Callable[[], float]) -> None:
        self._max_age = settings.max_age_ms
        self._shed = settings.shed_ms
        self._surfaces = settings.shed_surface_ms
        self._bounded = bool(self._max_age or self._shed or self._surfaces)
        self._clock = clock

    def refusal(self, request: Request, timestamp: int) -> Refusal | None:
        """What `request`, in Kafka since `timestamp` (ms), is refused with; None where it is to be run."""
        deadline = request.deadline_ms
        if deadline is None and not self._bounded:
            return None
        waited = self._clock() - timestamp
        if deadline is not None and waited > deadline:
            return Refusal("timeout", f"older than its deadline_ms of {deadline:g}")
        if 0 < self._max_age < waited:
            return Refusal("timeout", f"older than max_age_ms of {self._max_age:g}")
        bound = self._shed if request.surface is None else self._surfaces.get(request.surface, self._shed)
        if 0 < bound < waited:
            return Refusal("shed", f"waited {waited:.0f} ms, longer than the bound of {bound:g}")
        return None
