"""The one exception for what a person did wrong and can mend; the command line prints it as one line and
exits with 1.

Not for faults of ours (those are ordinary exceptions with a traceback), nor for bad records (those are dead
letters).
"""


class HeadgateError(Exception):
    """Says what was found, where, what was expected and what to do, in one line."""
