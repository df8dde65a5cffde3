"""What a worker runs, in memory that another process reads when it has crashed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from serving.flight import LABEL, MOST, Aboard, Flight, Place

RUNS_AND_DIES = """
import os, sys
from serving.flight import Flight, Place
flight = Flight(int(sys.argv[1]))
flight.serve()
flight.load("ranker/v3")
flight.begin("ranker/v2", "candidate", [Place(1, 2), Place(0, 2**40)])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def flight() -> Flight:
    return Flight.shared()


def test_nothing_is_aboard_at_first(flight: Flight) -> None:
    assert flight.aboard() is None
    assert (flight.since(), flight.loads(), flight.loads_since(), flight.serves) == (0, "", 0, False)


def test_what_ran_in_a_process_that_was_killed_can_be_read(flight: Flight) -> None:
    command = [sys.executable, "-c", RUNS_AND_DIES, str(flight.descriptor)]
    before = time.monotonic_ns()
    died = subprocess.run(command, pass_fds=[flight.descriptor], check=False)
    assert died.returncode == -signal.SIGKILL
    found = flight.aboard()
    assert found is not None
    assert before < found.since < time.monotonic_ns()
    assert found[1:] == ("ranker/v2", "candidate", [Place(1, 2), Place(0, 2**40)], False)
    assert flight.loads() == "ranker/v3"
    assert before < flight.loads_since() < found.since
    assert flight.serves


def test_a_run_that_is_over_is_not_aboard(flight: Flight) -> None:
    flight.begin("ranker/v1", "stable", [Place(0, 1)])
    flight.end()
    assert flight.aboard() is None


def test_the_next_run_takes_the_place_of_the_last(flight: Flight) -> None:
    flight.begin("ranker/version-with-a-long-name", "stable", [Place(0, n) for n in range(5)])
    flight.begin("ranker/v1", "shadow", [Place(0, 9)])
    assert flight.aboard() == Aboard(flight.since(), "ranker/v1", "shadow", [Place(0, 9)])


def test_a_version_is_proven_once_a_run_of_it_is_completed(flight: Flight) -> None:
    proven = []
    for label in ("ranker/v1", "ranker/v2", "ranker/v1"):
        flight.begin(label, "stable", [Place(0, 1)])
        found = flight.aboard()
        proven.append(found is not None and found.proven)
        flight.end()
    assert proven == [False, False, True]


def test_the_largest_run_fits(flight: Flight) -> None:
    places = [Place(n, n) for n in range(MOST)]
    flight.begin("m" * 2 * LABEL, "stable", places)
    found = flight.aboard()
    assert found is not None
    assert (found.label, found.places) == ("m" * LABEL, places)


def test_a_new_worker_has_done_nothing(flight: Flight) -> None:
    flight.begin("ranker/v1", "stable", [Place(0, 1)])
    flight.load("ranker/v2")
    flight.serve()
    flight.clear()
    assert flight.aboard() is None
    assert (flight.loads(), flight.loads_since(), flight.serves) == ("", 0, False)


def test_a_worker_that_overwrote_it_says_nothing(flight: Flight) -> None:
    flight.begin("ranker/v1", "stable", [Place(0, 1)])
    os.pwrite(flight.descriptor, b"\xff" * 64, 8)
    assert flight.aboard() is None
