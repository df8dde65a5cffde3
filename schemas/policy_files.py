"""Policies as people write them: YAML files, one model a file; every mistake with its file and line.

`policies.py` says what a policy is, `yaml_lines.py` where things stand in a file; here the two meet.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import inspect
from yaml import Node, ScalarNode

from schemas import policies
from schemas.errors import HeadgateError
from schemas.policies import Policy
from schemas.yaml_lines import Document, Mistake, describe

LARGEST = 1 << 20
"""Bytes of a policy file, at most."""

Check = Callable[[Policy], Iterable[tuple[str, str]]]
"""Finds more mistakes in a policy: JSON paths, and `Found …, expected …` or `Expected …, got …`."""

_WORDS = {
    "float": "a number", "int": "a whole number", "str": "text", "bool": "true or false",
    "array": "a list", "object": "an object", "null": "nothing",
}  # fmt: skip


_PER_CENT = re.compile(r"(-?\d+(?:\.\d+)?)\s*%", re.ASCII)


class PolicyMistakesError(HeadgateError):
    """Mistakes in policy files, a line each: `FILE:LINE: found …, expected … (path)`."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def load(files: Sequence[Path], *checks: Check) -> list[Policy]:
    """The policies in `files`, in that order. All or nothing.

    Raises `PolicyMistakesError` with what the files, `policies.mistakes` and `checks` find wrong; mistakes in
    the shape of a policy hide those in its meaning.
    """
    loaded: list[Policy] = []
    wrong: list[str] = []
    of_model: dict[str, Path] = {}
    for file in files:
        try:
            policy, document, mistakes = _read(file, checks)
        except HeadgateError as error:
            wrong.append(str(error))
            continue
        if policy is not None and document is not None and policy.model in of_model:
            other = of_model[policy.model]
            text = f"found a second policy for {policy.model}, expected one a model; {other} has one (model)"
            mistakes.append(Mistake(document.line("$.model"), text))
        elif policy is not None:
            of_model[policy.model] = file
            loaded.append(policy)
        wrong += [f"{file}:{mistake.line}: {mistake.text}" for mistake in sorted(set(mistakes))]
    if wrong:
        raise PolicyMistakesError(wrong)
    return loaded


def _read(file: Path, checks: Sequence[Check]) -> tuple[Policy | None, Document | None, list[Mistake]]:
    try:
        document = Document(_text(file))
    except ValueError as error:
        return None, None, list(error.args)
    policy, mistakes = _shape(document)
    if policy is not None:
        for check in (policies.mistakes, *checks):
            for path, text in check(policy):
                mistakes.append(Mistake(document.line(path), f"{_found_first(text)} ({_plain(path)})"))
    return policy, document, mistakes


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise HeadgateError(f"{file}: {error.strerror}; expected a policy file that we may read") from error
    if len(data) > LARGEST:
        raise HeadgateError(f"{file}: found {len(data)} bytes, expected a policy of at most {LARGEST}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            Mistake(line, f"found the byte 0x{data[error.start]:02x}, expected UTF-8")
        ) from error


def _shape(document: Document) -> tuple[Policy | None, list[Mistake]]:
    """The policy, or all mistakes in its shape: each is taken out, and the rest is read again."""
    mistakes: list[Mistake] = []
    while True:
        try:
            policy = policies.convert(document.value())
        except HeadgateError as error:
            text, path = _split(str(error))
        else:
            return (None if mistakes else policy), mistakes
        missing = re.fullmatch(r"Object missing required field `(.*)`", text)
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
        if missing is None or not document.pruned(path, missing[1]):
            if unknown:
                path = f"{path}.{unknown[1]}"
            words = (
                _missing(missing[1])
                if missing
                else _unknown(path)
                if unknown
                else _mistyped(document, path, text)
            )
            mistakes.append(Mistake(document.line(path), f"{words} ({_plain(path)})"))
        if not document.prune(path):
            return None, mistakes


def _split(message: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*?)(?: - at `(.*)`)?", message, re.DOTALL)
    assert match is not None
    return match[1], match[2] or "$"


def _missing(key: str) -> str:
    return f"found no `{key}`, expected one"


def _unknown(path: str) -> str:
    parent, _, key = path.rpartition(".")
    return f"found the unknown key `{key}`, expected one of {_keys(_type_at(parent))}"


def _mistyped(document: Document, path: str, text: str) -> str:
    type_, node = _type_at(path), document.find(path)
    if isinstance(type_, inspect.LiteralType):
        expected = f"one of {', '.join(map(str, type_.values))}"
    else:
        expected = _found_first(text).rpartition(", expected ")[2]
        expected += _as_meant(expected, type_, path, node)
    return f"found {describe(node)}, expected {expected}"


def _as_meant(expected: str, type_: inspect.Type, path: str, node: Node) -> str:
    """How what people often write would have to be written."""
    if expected == "an object" and path != "$" and isinstance(type_, inspect.StructType):
        return f" with {_keys(type_)}"
    written = node.value if isinstance(node, ScalarNode) else ""
    share = _PER_CENT.fullmatch(written)
    if share is not None and expected.startswith("a number"):
        return f": {share[1]} % is `{float(share[1]) / 100:g}`"
    return f" such as `[{written}]`" if written and expected == "a list" else ""


def _keys(type_: inspect.Type) -> str:
    fields = type_.fields if isinstance(type_, inspect.StructType) else ()
    return ", ".join(field.encode_name for field in fields)


def _found_first(text: str) -> str:
    """msgspec's and our own messages in one order: `found …, expected …`."""
    match = re.fullmatch(r"Expected (.*?)(?:, got (.*))?", text, re.DOTALL)
    if match is None:
        return text[:1].lower() + text[1:]
    expected = match[1].replace(" | null", "")
    expected = re.sub(r"`(\w+)`", lambda word: _WORDS.get(word[1], word[0]), expected)
    return f"found {match[2] or 'something else'}, expected {expected}"


def _type_at(path: str) -> inspect.Type:
    type_: inspect.Type = inspect.type_info(Policy)
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path):
        type_ = _type_in(type_, key, int(index or 0))
    return _not_none(type_)


def _type_in(type_: inspect.Type, key: str, index: int) -> inspect.Type:
    type_ = _not_none(type_)
    if isinstance(type_, inspect.StructType):
        return next((field.type for field in type_.fields if field.encode_name == key), inspect.AnyType())
    if isinstance(type_, inspect.VarTupleType):
        return type_.item_type
    if isinstance(type_, inspect.TupleType) and index < len(type_.item_types):
        return type_.item_types[index]
    return inspect.AnyType()


def _not_none(type_: inspect.Type) -> inspect.Type:
    if isinstance(type_, inspect.UnionType):
        return next(part for part in type_.types if not isinstance(part, inspect.NoneType))
    return type_


def _plain(path: str) -> str:
    return path.removeprefix("$").removeprefix(".") or "the policy"
