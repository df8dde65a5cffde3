"""Two join processes of one group, as children of this one: `python -m tests.bench.two PARENT`, settings as
JSON on standard input. They end with this process.
"""

import sys

import msgspec

from schemas.settings import Settings
from streams.worker import end_with_parent
from tests.bench.contestants import stage

if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    for worker in [stage(settings, None, "streams.worker", "join") for _ in range(2)]:
        worker.wait()
