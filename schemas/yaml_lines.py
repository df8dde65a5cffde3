"""YAML that knows its lines: a document as a tree of nodes in which the node of a JSON path can be found.

Stricter than YAML in what a person would not mean: a key twice, a key that is no word, a number that is none
(`.nan`), a second document. Knows nothing of policies; `policy_files.py` does.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

TEXT = "tag:yaml.org,2002:str"
FLOAT = "tag:yaml.org,2002:float"
TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "float", "int", "bool", "null", "timestamp", "map", "seq")
}


class Loader(yaml.SafeLoader):
    """Safe YAML, in which `1e-3` is a number as in JSON; PyYAML takes it for a word."""


Loader.add_implicit_resolver(FLOAT, re.compile(r"[-+]?\d+(?:\.\d*)?[eE][-+]?\d+"), list("-+0123456789"))


class Mistake(NamedTuple):
    """What is wrong, and on which line (from 1)."""

    line: int
    text: str


class Document:
    """One YAML document: its value as plain objects, and its nodes."""

    def __init__(self, text: str) -> None:
        """Raises `ValueError` whose arguments are the `Mistake`s."""
        try:
            root = Loader(text).get_single_node()
            if root is None:
                raise ValueError(Mistake(1, "found nothing, expected a policy"))
            mistakes = list(_mistakes(root, set()))
            if mistakes:
                raise ValueError(*mistakes)
            self._root = root
            self.value()
        except yaml.YAMLError as error:
            raise ValueError(_syntax(error, text)) from error
        except RecursionError as error:
            raise ValueError(Mistake(1, "found YAML nested without end, expected a policy")) from error
        self._pruned: set[tuple[int, str]] = set()

    def value(self) -> object:
        """The document as dicts, lists, words and numbers; without what was `prune`d."""
        value: object = Loader("").construct_document(self._root)
        return value

    def find(self, path: str) -> Node:
        """The node at a JSON path such as `$.rules[0].for`, or the deepest one on the way that there is.

        `[...]` (msgspec's word for any key of an object) is the object's first value that is no text.
        """
        return self._walk(path)[0][-1]

    def line(self, path: str) -> int:
        """The line of the node at `path`; of its key where it has one, for that is where people look."""
        nodes, _ = self._walk(path)
        keys = [name for name, value in _pairs(nodes[-2]) if value is nodes[-1]] if len(nodes) > 1 else []
        return _line(keys[0] if keys else nodes[-1])

    def prune(self, path: str) -> bool:
        """Takes the node at `path` out of the document. False: it is not there, or all there is."""
        nodes, missing = self._walk(path)
        if missing or len(nodes) < 2:
            return False
        parent, child = nodes[-2:]
        if isinstance(parent, MappingNode):
            self._pruned |= {(id(parent), name.value) for name, value in _pairs(parent) if value is child}
            parent.value = [pair for pair in _pairs(parent) if pair[1] is not child]
        else:
            parent.value = [node for node in parent.value if node is not child]
        return True

    def pruned(self, path: str, key: str) -> bool:
        """Whether `key` was taken out of the object at `path`."""
        return (id(self.find(path)), key) in self._pruned

    def _walk(self, path: str) -> tuple[list[Node], str]:
        """The nodes on the way, from the root, and what of `path` is not there."""
        nodes, rest = [self._root], path.removeprefix("$")
        while rest:
            step = _step(nodes[-1], rest)
            if step is None:
                break
            node, rest = step
            nodes.append(node)
        return nodes, rest


def describe(node: Node) -> str:
    """What a person wrote there, shortened."""
    if isinstance(node, ScalarNode):
        text = node.value if len(node.value) <= 60 else node.value[:57] + "…"
        return f"`{text}`" if text else "nothing"
    return "a list" if isinstance(node, SequenceNode) else "an object"


def _step(node: Node, rest: str) -> tuple[Node, str] | None:
    if isinstance(node, SequenceNode):
        match = re.match(r"\[(\d+)\]", rest)
        if match and int(match[1]) < len(node.value):
            return node.value[int(match[1])], rest[match.end() :]
        return None
    if rest.startswith("[...]"):
        wrong = (value for _, value in _pairs(node) if value.tag != TEXT)
        value = next(wrong, None)
        return None if value is None else (value, rest.removeprefix("[...]"))
    names = {f".{name.value}": value for name, value in _pairs(node)}
    fitting = [name for name in names if re.match(re.escape(name) + r"(?=[.\[]|$)", rest)]
    name = max(fitting, key=len, default=None)
    return None if name is None else (names[name], rest.removeprefix(name))


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    pairs: list[tuple[Node, Node]] = node.value if isinstance(node, MappingNode) else []
    return pairs


def _mistakes(node: Node, seen: set[int]) -> Iterator[Mistake]:
    if id(node) in seen:  # an alias, perhaps of what it stands in
        return
    seen.add(id(node))
    keys: dict[str, Node] = {}
    for key, _ in _pairs(node):
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != TEXT:
            yield Mistake(
                _line(key), f"found the key {describe(key)}, expected a word; quote it if it is one"
            )
        elif key.value in keys:
            first = _line(keys[key.value])
            yield Mistake(
                _line(key), f"found the key {describe(key)} again, expected it once; line {first} has it too"
            )
        else:
            keys[key.value] = key
    if node.tag not in TAGS:
        yield Mistake(_line(node), f"found the tag {node.tag}, expected plain YAML without tags")
    elif isinstance(node, ScalarNode) and not _is_sound(node):
        yield Mistake(
            _line(node), f"found {describe(node)}, expected a finite number or text; quote it as text"
        )
    children = node.value if isinstance(node, SequenceNode) else [value for _, value in _pairs(node)]
    for child in children:
        yield from _mistakes(child, seen)


def _is_sound(node: ScalarNode) -> bool:
    """Not so for numbers that are none, and dates that are none (`2025-13-01`)."""
    try:
        value = Loader("").construct_document(node)
    except ValueError:
        return False
    return not isinstance(value, float) or math.isfinite(value)


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _syntax(error: yaml.YAMLError, text: str) -> Mistake:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = error.problem or error.context or "no YAML"
        if "expected a single document" in str(error):
            return Mistake(error.problem_mark.line + 1, "found a second document, expected one policy a file")
        if "<block end>" in problem:  # the library's own words are about its tokens
            problem = "found a line that is indented unlike those that it belongs to"
        return Mistake(error.problem_mark.line + 1, f"expected YAML: {problem}")
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Mistake(line, f"found the character U+{ord(text[error.position]):04X}, expected text")
    return Mistake(1, f"expected YAML: {error}")
