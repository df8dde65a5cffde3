"""Exploration: of a share of requests the first items are shown in random order, and with every answer stands
how likely each item was to be where it is. Pure, and the same each time that a request is answered.

With that, whatever happened to the items can be weighed by the inverse of their propensity, and says without
bias how another ranker would have done: inverse propensity scoring, as in Saito and others, "Open Bandit
Dataset and Pipeline" (2021), whose logs have the same column.
"""

from hashlib import sha256

import numpy as np
import numpy.typing as npt

from schemas.policies import Explore
from serving.router import is_candidate

SALT = "explore"
"""Of the hash that decides; independent of the arms' salts and of the buckets'."""

Order = npt.NDArray[np.intp]


def explored(order: Order, explore: Explore, request_id: str) -> tuple[Order, list[float]]:
    """The places of a request's items in the order in which they are shown, [n], and how likely each was to
    be shown there, [n]. `order`: the same by score, best first.

    A share ε of requests, by a hash of their id, has its first d = min(`depth`, n) items in an order drawn
    uniformly. So an item among them is at its own rank with 1 - ε + ε/d, and at each other with ε/d; behind
    them all is as it was.
    """
    depth = min(explore.depth, len(order))
    shown = order
    if is_candidate(SALT, request_id, explore.share):
        drawn = sorted(range(depth), key=lambda rank: sha256(f"{SALT}:{request_id}:{rank}".encode()).digest())
        shown = np.concatenate([order[drawn], order[depth:]])
    moved = explore.share / depth if depth else 0.0
    stayed = 1 - explore.share + moved
    first = np.where(shown[:depth] == order[:depth], stayed, moved).tolist()
    return shown, first + [1.0] * (len(order) - depth)
