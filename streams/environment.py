"""What every process of ours finds in its environment as it begins, unless the user has said otherwise. Light
to import.
"""

import os

OURS = {"OPENBLAS_NUM_THREADS": "1"}
"""Nothing here multiplies matrices that are worth a second thread; numpy and scipy would make one for each
processor as they are imported, and both have them wait in a loop at first.
"""


def environment() -> dict[str, str]:
    """Ours, and what this process's user has set."""
    return {**OURS, **os.environ}
