"""Random fields of records, from a generator of random numbers: of few requests, models, items and
values, so that everything happens to everything. Some of it is as it should be.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from schemas.topics import FEEDBACK, PREDICTIONS, REQUESTS, Topic

Fields = dict[str, object]
"""A record to be, without its `ts`; fields that are None are left out."""

Drawn = TypeVar("Drawn")

REQUEST_IDS = ("r0", "r1", "r2", "r3")
MODELS = ("a", "a", "a", "b", "c")
USERS = (None, "u1", 2)
SURFACES = (None, None, "home", "search")
SEGMENTS: tuple[dict[str, str] | None, ...] = (None, None, {"country": "de"}, {"country": "nz"}, {})
FEATURES: tuple[Fields | None, ...] = (
    None,
    None,
    {},
    {"age": 30, "height": 2, "country": "de"},
    {"age": 18, "height": -1.5, "country": "nz", "unknown": "x"},
    {"age": 64.999, "height": 1e300, "country": 'é"\\'},
    {"age": 99.5, "height": -1e-300, "country": True},
    {"age": -0.0, "height": 12345678901234567890, "country": False},
    {"age": -7, "country": 7},
    {"age": 100, "height": None, "country": None},
    {"age": "30", "height": "", "country": ""},
    {"age": True, "height": False, "country": "DE", "gone": "x"},
)
"""What the references of `random_streams.PROFILES` take well, and what they do not."""

WORDS = ("x", "y", 7, "7", "z", "")
MANY = (*(f"i{n}" for n in range(300)), "x", *(f"j{n}" for n in range(40)), "y", 7)
SCORES = (0.0, 0.1, 0.5, 0.7, 0.9, 1.0, 1, -0.5, 1.5, 1e-20, 0.9999999, 3.25e6)
LABELS = (None, None, 0, 1, 1, 1.0, 0.5, -2, 3.25e6)
KINDS = (*["click"] * 3, "purchase", "cart", "impression", "relevant", *["label"] * 3, "odd")


def request(rng: Random) -> Fields:
    """Fields of `inference.requests`."""
    return {
        "request_id": rng.choice(REQUEST_IDS),
        "model": rng.choice(MODELS),
        "user": rng.choice(USERS),
        "surface": rng.choice(SURFACES),
        "segments": rng.choice(SEGMENTS),
        "features": rng.choice(FEATURES),
    }


def prediction(rng: Random) -> Fields:
    """Fields of `inference.predictions`."""
    return (
        request(rng)
        | slate(rng)
        | {
            "version": rng.choice(["v1", "v2"]),
            "arm": rng.choice(["stable", "stable", "candidate", "shadow"]),
            "status": rng.choice(["ok", "ok", "ok", "ok", "error", "timeout", "shed"]),
            "latency_ms": rng.choice([0, 0.3, 12, 50, 50.5, 80, 12_345]),
            "generation": rng.choice([None, 1, 2]),
            "shown": rng.choice([None, None, 0, 1, 2, 9]),
        }
    )


def slate(rng: Random) -> Fields:
    """Items, scores and propensities: mostly of one length, some without the others, few very long."""
    shape = rng.random()
    if shape < 0.02:
        return {"items": MANY, "scores": [(n * 37 % 101) / 100 for n in range(len(MANY))]}
    if shape < 0.06:
        return {"scores": several(rng, SCORES, 3)}
    if shape < 0.18:
        return {"scores": [rng.choice(SCORES)]} | ({"items": [rng.choice(WORDS)]} if shape < 0.12 else {})
    items = several(rng, WORDS, 5)
    return {
        "items": items,
        "scores": [rng.choice(SCORES) for _ in items] if shape < 0.8 else None,
        "propensities": [0.5 for _ in items] if shape < 0.3 else None,
    }


def feedback(rng: Random) -> Fields:
    """Fields of `feedback.events`."""
    return {
        "request_id": rng.choice(REQUEST_IDS),
        "kind": rng.choice(KINDS),
        "item": rng.choice(["x", "y", 7, "7", "z", "", "j39", None]),
        "value": rng.choice(LABELS),
        "event_id": rng.choice([None, None, None, "e1", "e2"]),
    }


FIELDS = {REQUESTS: request, PREDICTIONS: prediction, FEEDBACK: feedback}


def visit(rng: Random) -> list[tuple[Topic, Fields]]:
    """A prediction that is ok, feedback on its items, and perhaps its request: each in its topic, in some
    order."""
    answer = prediction(rng) | {"status": "ok"}
    items = answer.get("items")
    choice = [*(items if isinstance(items, Sequence) else ()), None]
    said = [
        {
            "request_id": answer["request_id"],
            "item": rng.choice(choice),
            "kind": rng.choice(KINDS),
            "value": rng.choice(LABELS),
        }
        for _ in range(rng.randrange(5))
    ]
    records = [(PREDICTIONS, answer), *((FEEDBACK, fields) for fields in said)]
    if rng.random() < 0.5:
        asked = request(rng) | {name: answer[name] for name in ("request_id", "model")}
        records.insert(rng.randrange(len(records) + 1), (REQUESTS, asked))
    return records if rng.random() < 0.75 else records[::-1]


def several(rng: Random, choice: Sequence[Drawn], most: int) -> list[Drawn]:
    """Up to `most` of them, with repetition."""
    return [rng.choice(choice) for _ in range(rng.randrange(most + 1))]
