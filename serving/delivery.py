"""Answers on their way to the broker: handed over, followed until they are there, and replaced where they are
too large. One thread uses it at a time.

Whether answers have arrived is known without waiting for them: a wait of some milliseconds, twice a second,
would hold up the answers behind it, and at a few thousand a second more than one in a hundred is.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message

from schemas import topics
from schemas.records import ENCODER, DeadLetter, Prediction
from schemas.settings import Settings
from schemas.topics import Topic
from serving.meter import Meter
from serving.outage import Outage
from streams.log import Output

log = logging.getLogger("headgate.serving")

FLUSH = 1.0
"""Seconds that one wait for the broker may take; a signal is heard after that. And seconds for which
answers may be on their way until it is waited for them: faster than the broker takes them, none are made."""


class Lot:
    """What is handed over between two questions whether it has arrived. `left`: records of it that the broker
    has not taken yet. `failed` is called with each that it does not take."""

    def __init__(self, failed: Callable[["Lot", KafkaError, Message], None]) -> None:
        self.left = 0
        self._failed = failed

    def told(self, error: KafkaError | None, message: Message) -> None:
        """What became of a record, by the client."""
        self.left -= 1
        if error is not None:
            self._failed(self, error, message)


class Delivery:
    """A worker's answers and dead letters; `meter` counts answers.

    `undelivered`: some answer never will arrive. Whoever reads its request again may `begin_anew`.
    """

    def __init__(self, settings: Settings, meter: Meter, outage: Outage) -> None:
        self._settings = settings
        self._meter = meter
        self._outage = outage
        self._refused: deque[bytes] = deque()
        self._output = Output(settings)
        self._earlier, self._latest = Lot(self._failed), Lot(self._failed)
        self._closed = time.monotonic()
        self.undelivered = False

    def send(self, prediction: Prediction) -> None:
        """Hands an answer over; where it is too large for a record, an error instead. What is too large even
        so, for its request_id is, stays unanswered."""
        value = ENCODER.encode(prediction)
        if self._fits(prediction.request_id, value):
            self._meter.answered(prediction)
            return
        instead = _too_large(prediction, len(value))
        self._meter.answered(instead)
        if not self._fits(instead.request_id, ENCODER.encode(instead)):
            log.error("a request of %s stays unanswered: no answer to it fits a record", prediction.model)

    def send_all(self, predictions: Iterable[Prediction]) -> None:
        """Hands answers over, as they come."""
        for prediction in predictions:
            self.send(prediction)
        self._output.serve()  # each record's news costs a turn at the interpreter's lock: after all are out

    def bury(self, letters: Iterable[DeadLetter]) -> None:
        """Hands over what are no requests."""
        for letter in letters:
            self._put(topics.DEAD_LETTERS, letter.key, ENCODER.encode(letter))

    def arrived(self) -> bool:
        """Whether the broker has all that was handed over before this was last answered with True; from the
        beginning, where it never was. Waits only where that takes long."""
        self._output.serve()
        if self._refused or (self._earlier.left and time.monotonic() > self._closed + FLUSH):
            self.settle()
        if self._earlier.left or self._refused or self.undelivered:
            return False
        self._earlier, self._latest = self._latest, Lot(self._failed)
        self._closed = time.monotonic()
        return True

    def settle(self) -> bool:
        """Waits until the broker has all so far. False: it has not yet, or (`undelivered`) never will."""
        try:
            self._output.flush(FLUSH)
            while self._refused:
                self._send_alone(self._refused[0])
                self._refused.popleft()
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:
                raise
            return False
        return not self.undelivered

    def begin_anew(self) -> None:
        """What was not delivered is answered again; what becomes of the answers so far does not matter."""
        self.undelivered = False
        self._earlier, self._latest = Lot(self._failed), Lot(self._failed)
        self._closed = time.monotonic()

    def _fits(self, request_id: str, value: bytes) -> bool:
        """Queues an answer, unless the client refuses it as too large."""
        try:
            self._put(topics.PREDICTIONS, request_id, value)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            return False
        return True

    def _put(self, topic: Topic, key: str | bytes | None, value: bytes) -> None:
        """Queues a record of the latest lot."""
        lot = self._latest
        self._output.put(topic, key, value, told=lot.told)
        lot.left += 1  # it is told of in `serve` and `flush` alone, so not before

    def _failed(self, lot: Lot, error: KafkaError, message: Message) -> None:
        """The broker has not taken a record, and never will. Called from within `_output`."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._refuse(message)
        elif lot in (self._earlier, self._latest) and not self.undelivered:
            self.undelivered = True
            if not self._outage:
                log.error("answers not delivered (%s): their requests are answered again", error.str())

    def _refuse(self, message: Message) -> None:
        """The broker takes no record, or no batch of records, of this size."""
        value = message.value()
        if message.topic() == topics.PREDICTIONS.full_name(self._settings.topics) and value is not None:
            self._refused.append(value)
        else:
            log.error("%s: the broker takes no record of %d bytes", message.topic(), len(value or b""))

    def _send_alone(self, value: bytes) -> None:
        """Sends an answer once more that the broker refused: perhaps only the batch that it was in was too
        large. Where it is not, an error instead."""
        prediction = msgspec.json.decode(value, type=Prediction)
        waiting = len(self._refused)
        for answer in (value, ENCODER.encode(_too_large(prediction, len(value)))):
            self._put(topics.PREDICTIONS, prediction.request_id, answer)
            self._output.flush(FLUSH)
            if len(self._refused) == waiting:
                return
            self._refused.pop()
        log.error("a request of %s stays unanswered: the broker takes no answer to it", prediction.model)


def _too_large(prediction: Prediction, size: int) -> Prediction:
    """The answer instead of one of `size` bytes that fits no record."""
    reason = f"the answer has {size} bytes, more than a record may have: ask for fewer items"
    return msgspec.structs.replace(
        prediction, status="error", error=reason, items=None, scores=None, shown=None, propensities=None
    )
