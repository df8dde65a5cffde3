"""Says that Kafka is away once, and once that it is back, however many clients notice how often."""

import logging

from confluent_kafka import KafkaError

log = logging.getLogger("headgate.serving")

AWAY = {KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._RESOLVE, KafkaError._SSL}
"""Errors after which perhaps nothing comes until somebody does something; the clients go on trying."""


class Outage:
    """Whether Kafka can be reached. Clients report what they meet, often late and each for itself; that is a
    suspicion. Whoever asks Kafka something, and gets an answer or none, settles it.
    """

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._away = False
        self._suspicion: str | None = None

    def __bool__(self) -> bool:
        return self._away

    @property
    def suspected(self) -> bool:
        """Whether somebody should ask Kafka something."""
        return self._away or self._suspicion is not None

    def notice(self, error: KafkaError) -> None:
        """A client's error callback."""
        if error.code() in AWAY:
            self._suspicion = error.str()

    def begin(self, error: KafkaError) -> None:
        """Kafka was asked in vain. A broker's own error (they count from 0) is no silence."""
        if error.code() < 0 and not self._away:
            self._away = True
            reason = self._suspicion or error.str()
            log.warning("Kafka at %s cannot be reached (%s); waiting for it", self._brokers, reason)

    def end(self) -> None:
        """Kafka answered."""
        self._suspicion = None
        if self._away:
            self._away = False
            log.info("Kafka at %s answers again", self._brokers)
