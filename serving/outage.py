"""Says that Kafka is away once, and once that it is back, however many clients notice how often."""

import logging

from confluent_kafka import KafkaError

log = logging.getLogger("headgate.serving")

AWAY = {KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._RESOLVE, KafkaError._SSL}
"""Errors after which nothing comes until somebody does something; the clients go on trying all the same."""


class Outage:
    """Whether Kafka can be reached, as far as anybody has noticed."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._away = False

    def __bool__(self) -> bool:
        return self._away

    def notice(self, error: KafkaError) -> None:
        """A client's error callback; errors that librdkafka mends by itself are no outage."""
        if error.code() in AWAY:
            self.begin(error.str())

    def begin(self, reason: str) -> None:
        """Somebody waited for Kafka in vain."""
        if not self._away:
            self._away = True
            log.warning("Kafka at %s cannot be reached (%s); waiting for it", self._brokers, reason)

    def end(self) -> None:
        """Somebody got an answer."""
        if self._away:
            self._away = False
            log.info("Kafka at %s answers again", self._brokers)
