"""Ids that are hashes of what they are about: what is decided again has the same id."""

import json
from hashlib import sha256


def identity(*parts: object) -> str:
    """32 hexadecimal digits of the SHA-256 of `parts` as JSON.

    >>> identity("ranker", 7) == identity("ranker", 7) != identity("ranker", 8)
    True
    """
    return sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()[:32]
