"""What the join takes, for those who plan with it (`headgate check`): memory for what is pending, time for
what is read again. Nothing here is measured while it runs.
"""

from schemas import topics
from schemas.policies import EARLY, Policy
from schemas.topics import Topic

PREDICTION_BYTES = 190
"""Memory of a pending prediction with 10 items of which nothing was said: by the tables' own account
(`Join.bytes`) with 1 M pending, see `README.md`.
"""

REQUEST_BYTES = 40
"""Memory of a request without features, beside its prediction's; features and segments take as many bytes as
they have in JSON."""

FEEDBACK_BYTES = 170
"""Memory of an event of feedback: itself, what it made of its prediction, and how it is told from others."""

RATE = 300_000
"""Events that a join process reads in a second, with a core to itself: `python -m tests.bench join`."""

COMFORTABLE = 0.5
"""Over this share of its memory limit, a join lets topics wait that are ahead."""


def kept(policy: Policy) -> int:
    """How long (ms) an event is kept at most: from a pane's start to its deadline."""
    return policy.deadline(0)


def needed(topic: Topic, kept: int) -> int:
    """How far (ms) the join's commit trails in an event topic at most, where events are `kept` so long: what
    is newer is read again after a restart.

    Feedback is needed until no prediction can come any more that it answers; a prediction that has some,
    which may come at the end of its own time, as long as that.
    """
    if topic is topics.FEEDBACK:
        return kept + EARLY
    return 2 * kept + EARLY if topic is topics.PREDICTIONS else kept


def memory(requests: float, predictions: float, feedback: float) -> int:
    """Bytes for so many pending events of each topic."""
    return round(requests * REQUEST_BYTES + predictions * PREDICTION_BYTES + feedback * FEEDBACK_BYTES)


def recovery(events: float) -> float:
    """Seconds that one process takes to read so many events again, which is at least as fast as the first
    time.
    """
    return events / RATE
