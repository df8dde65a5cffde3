"""Why a value is not a record, for the person who reads the dead letter: which field, what was found, what
was expected. msgspec says one or two of these, depending on the mistake; this says all three.
"""

import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

LONGEST = 60
"""What was found is quoted up to this many characters."""

WHOLE = "value"
"""Where the mistake is not in a field, but in the record as a whole."""

_EXPECTED = re.compile(r"Expected (.+?)(?:, got `(.+)`)?")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def reason(error: msgspec.DecodeError, value: bytes, type_: Any) -> str:
    """One line about `error`, which decoding `value` (JSON) as `type_` has raised.

    >>> try: msgspec.json.decode(b'{"ts": -1}', type=dict[str, str])
    ... except msgspec.DecodeError as error: print(reason(error, b'{"ts": -1}', dict[str, str]))
    value[...]: found int, expected str
    """
    message, _, place = str(error).partition(" - at ")
    key, path = place.startswith("`key`"), place[place.find("$") + 1 :].rstrip("`")
    if not isinstance(error, msgspec.ValidationError):
        return f"{WHOLE}: found no JSON ({message}), expected a JSON object"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", message):
        return f"{_field(f'{path}.{missing[1]}')}: found nothing, expected this field, which is required"
    if said := _EXPECTED.fullmatch(message):
        expected, found = said.groups()
    elif choices := _choices(type_, path):
        expected, found = f"one of {', '.join(choices)}", None
    else:
        expected, found = "a value that fits", message.lower()
    found = ("" if key else _excerpt(value, path)) or found or "another value"
    field = f"{_field(path)}, a key" if key else _field(path)
    return f"{field}: found {found}, expected {expected.replace('`', '')}"


def _field(path: str) -> str:
    return path.lstrip(".") if path.startswith(".") else WHOLE + path


def _excerpt(value: bytes, path: str) -> str:
    """The JSON at `path`, if it can be read, and the path is one: msgspec writes `[...]` for any key."""
    steps = _STEP.findall(path)
    if not steps or any(index == "..." for _, index in steps):
        return ""
    try:
        node = msgspec.json.decode(value)
        for name, index in steps:
            node = node[name] if name else node[int(index)]
        text = msgspec.json.encode(node).decode()
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, RecursionError):
        return ""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _choices(type_: Any, path: str) -> list[str]:
    """The words of which the field at `path` must hold one: those of its `Literal`, or a union's tags."""
    name, options = path.lstrip("."), get_args(type_) or (type_,)
    tags = [option.__struct_config__ for option in options]
    if any(config.tag_field == name for config in tags):
        return [str(config.tag) for config in tags]
    hints = [get_type_hints(option).get(name) for option in options]
    literals = [each for hint in hints for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
    return [str(word) for literal in literals for word in get_args(literal)]
