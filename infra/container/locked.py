"""The part of a lock file that an image needs: `locked.py NAMES < requirements.lock`. Only the standard
library, for it runs before anything is installed.

NAMES has a package a line. Their lines of the lock are printed as they are, pins, markers and hashes; a name
that the lock does not have is an error, for the image would lack it.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


def canonical(name: str) -> str:
    """A package's name as it is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(text: str) -> set[str]:
    """The packages that a list names; `#` begins a comment."""
    found = (line.partition("#")[0].strip() for line in text.splitlines())
    return {canonical(name) for name in found if name}


def select(lock: Iterable[str], wanted: set[str]) -> Iterator[str]:
    """The lines of `lock` that pin a package of `wanted`, those with their hashes among them."""
    taken, missing = False, set(wanted)
    for line in lock:
        found = NAME.match(line)
        if found is not None:
            name = canonical(found[1])
            taken = name in wanted
            missing.discard(name)
        if taken:
            yield line
    if missing:
        raise SystemExit(f"the lock has no {', '.join(sorted(missing))}; lock it, or take it off the list")


if __name__ == "__main__":
    sys.stdout.writelines(select(sys.stdin, names(Path(sys.argv[1]).read_text(encoding="utf-8"))))
