"""Shadow versions of one request are told apart for as long as the first of each is remembered."""

from schemas import policies
from schemas.timeline import Timeline
from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS
from streams.join.references import References
from tests.oracle.lives import Move, Read, emitted
from tests.oracle.panes import measure
from tests.oracle.recording import Recording
from tests.oracle.truth import Series

NOON = 1_767_268_800_000
POLICY = policies.parse(
    {"model": "ranker", "pane": "1s", "attribution": {"window": "3s", "lateness": "1s"}, "answer": "1s"}
)


def test_a_second_shadow_version_counts_though_the_pane_of_the_first_is_final_and_forgotten() -> None:
    """The first is remembered beyond its pane, because it came again in a later one."""
    recording, timeline = Recording(partitions=1), Timeline()
    timeline.add(POLICY, 0)
    for ts, request_id, version in (
        (0, "r", "v1"),
        (4_900, "r", "v1"),
        (6_000, "p", "v1"),
        (6_500, "r", "v2"),
    ):
        recording.add(
            PREDICTIONS,
            NOON + ts,
            request_id,
            model="ranker",
            version=version,
            arm="shadow" if request_id == "r" else "stable",
            status="ok",
            latency_ms=1,
        )
    recording.add(REQUESTS, NOON + 6_000, "p", model="ranker")
    recording.add(FEEDBACK, NOON + 6_000, "p", kind="view")
    moves: list[Move] = [Read(REQUESTS, 1), Read(PREDICTIONS, 3), Read(FEEDBACK, 1), "emit"]

    found = measure(emitted(recording.logs(), 1, timeline, moves, References()))

    second = found[Series("ranker", "v2", "shadow", "", "", NOON + 6_000)].sums
    assert (second["predictions"], second["duplicates"]) == (1, 0)
    assert found[Series("ranker", "v1", "shadow", "", "", NOON + 4_000)].sums["duplicates"] == 1
