"""What is held under one request id until nothing can change any more: requests, predictions, feedback; and
what one is to another.

Every rule here is symmetric: it holds in whatever order the two records were read.
"""

from schemas.records import Feedback, Request
from schemas.timeline import BEGINNING
from streams.join.arrivals import Arrival
from streams.join.ledger import Batch
from streams.join.predictions import Answered
from streams.join.windows import Window


class Asked:
    """A request, and until which deadline predictions may answer it (`deadline`) or be described by it
    (`until`); `keep` is until when later ones are its duplicates. `unanswered`: it is counted as such.
    """

    __slots__ = ("answer_by", "batch", "deadline", "keep", "past", "request", "unanswered", "until", "window")

    def __init__(
        self, request: Request, past: int, window: Window, until: int, answer_by: int, batch: Batch
    ) -> None:
        self.request = request
        self.past = past
        self.window = window
        self.deadline = window.deadline
        self.until = self.keep = until
        self.answer_by = answer_by
        self.batch = batch
        self.unanswered = False


class Said:
    """Feedback, the deadline after which no prediction in time for it can come any more, the pane in which it
    is counted if it answers none, and whether it is `taken`: by one, or as lost.
    """

    __slots__ = ("batch", "deadline", "feedback", "past", "taken", "ts", "window")

    def __init__(
        self, arrival: Arrival[Feedback], past: int, deadline: int, window: Window, batch: Batch
    ) -> None:
        self.feedback = arrival.event
        self.ts = arrival.ts
        self.past = past
        self.deadline = deadline
        self.window = window
        self.batch = batch
        self.taken = False


class Visit:
    """All that is known under one request id."""

    __slots__ = ("asked", "predictions", "said", "until")

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.predictions: list[Answered] = []
        self.said: list[Said] = []
        self.until = BEGINNING

    @property
    def keep(self) -> int:
        """Until when there may be duplicates of what is here."""
        keeps = [each.keep for each in self.predictions] + [each.keep for each in self.asked]
        return max(keeps, default=BEGINNING)

    def answers(self, asked: Asked) -> bool:
        """Whether a prediction is here that `asked` waits for."""
        return any(answers(prediction, asked) for prediction in self.predictions)


def describes(asked: Asked, prediction: Answered) -> bool:
    """Whether a prediction takes user, surface and features from the request: each was in time for the
    other's pane.
    """
    return (
        asked.request.model == prediction.model
        and prediction.past <= asked.until
        and asked.past <= prediction.deadline
    )


def answers(prediction: Answered, asked: Asked) -> bool:
    """Whether a prediction is the answer that a request waits for: each was in time for the other's pane."""
    return (
        asked.request.model == prediction.model
        and prediction.arm != "shadow"
        and prediction.ts <= asked.answer_by
        and prediction.past <= asked.deadline
        and asked.past <= prediction.deadline
    )


def tie(asked: Asked, prediction: Answered) -> None:
    """Of one model, each is needed as long as the other's pane is open, for that may rest on both."""
    if asked.request.model == prediction.model:
        asked.batch.need(prediction.deadline)
        prediction.batch.need(asked.deadline)


def match(said: Said, prediction: Answered) -> None:
    """Feedback answers a prediction where neither came too late for the other. Each is needed as long as the
    pane that the other is counted in.
    """
    said.batch.need(prediction.deadline)
    prediction.batch.need(said.window.deadline)
    if said.past <= prediction.deadline and prediction.past <= said.deadline:
        said.taken = True
        prediction.answer(said.feedback, said.ts)
