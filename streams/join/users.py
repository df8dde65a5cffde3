"""Users are hashed into buckets, so that the judge can take the variance between users without a word about
who they are.
"""

from hashlib import blake2b

from schemas.records import BUCKETS


def bucket_of(unit: str) -> int:
    """The bucket of a user (or request) id: a keyed BLAKE2b, so it says nothing about the arm, which is a
    SHA-256 with a salt of its own.
    """
    return blake2b(unit.encode(), digest_size=1, person=b"headgate-bucket").digest()[0] % BUCKETS
