"""Lists of row numbers, as compiled code keeps them: what a list takes is a number in whatever has it.

Most have one element, and that is in the number itself: `NONE` is the empty list, a number below is the last
element, any other the link (`State.links`) of one that has others behind it.
"""

from streams.compiled import inner
from streams.join.hashmap import NONE
from streams.join.layout import LINKS, State
from streams.join.tables import give, take

_LAST = -2
"""The list whose one element is row 0; that of row n is n less."""


@inner
def link_to(state: State, first: int, row: int) -> int:
    """A list with one more element, in front; answers its new beginning."""
    if first == NONE:
        return _LAST - row
    link = take(state.links, state.pools, LINKS)
    state.links[link].row, state.links[link].next = row, first
    return link


@inner
def element(state: State, first: int) -> int:
    """The first element of a list that is not empty."""
    return int(state.links[first].row) if first >= 0 else _LAST - first


@inner
def rest(state: State, first: int) -> int:
    """The list behind the first element."""
    return int(state.links[first].next) if first >= 0 else NONE


@inner
def free_first(state: State, first: int) -> None:
    """Frees what the first element takes besides its place in the list."""
    if first >= 0:
        give(state.links, state.pools, LINKS, first)


@inner
def free_list(state: State, first: int) -> None:
    """Frees the links of a list."""
    while first >= 0:
        following = state.links[first].next
        give(state.links, state.pools, LINKS, first)
        first = following
