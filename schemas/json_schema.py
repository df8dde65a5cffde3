"""The records' types as JSON Schema (draft 2020-12), one document a topic: for producers in other languages.

Not a second description of the records: everything here is read off `records.py`. What a schema cannot say
stands in each document's `$comment`; the decoder and `records.problem` see to it.
"""

from pathlib import Path
from typing import Any

import msgspec

from schemas.errors import HeadgateError
from schemas.records import TYPES
from schemas.topics import Topic

DRAFT = "https://json-schema.org/draft/2020-12/schema"

BEYOND = (
    "Beyond this schema: integers are written without a fraction or an exponent (7, not 7.0); numbers fit "
    "into 64 bits; ts is at most a day after the record's Kafka timestamp; a prediction's items, scores and "
    "propensities have one length; a value is UTF-8, plain or behind Confluent framing, and not nested "
    "beyond some hundreds of levels."
)

Json = dict[str, Any]
"""A JSON object: schemas are data of any shape."""


def schema(topic: Topic) -> Json:
    """The schema of a topic's values. Raises `KeyError` for a topic whose records are a stage's own."""
    document = msgspec.json.schema(TYPES[topic])
    definitions: Json = document.pop("$defs", {})
    for definition in definitions.values():
        definition["description"] = _reflow(definition["description"])
        _null_as_absent(definition)
    main = document.pop("$ref", "").rpartition("/")[2]
    body = definitions.pop(main) if main else document | {"description": _of_alternatives(definitions)}
    about = {"$schema": DRAFT, "$id": f"urn:headgate:{topic.name}"}
    about |= {"title": topic.name, "description": body["description"], "$comment": BEYOND}
    return about | body | {"title": topic.name} | ({"$defs": definitions} if definitions else {})


def export(folder: Path) -> list[Path]:
    """Writes `<topic>.schema.json` for every topic into `folder` (made if missing); answers the paths.

    Raises `HeadgateError` where the folder cannot be written to.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for topic in TYPES:
            path = folder / f"{topic.name}.schema.json"
            path.write_bytes(msgspec.json.format(msgspec.json.encode(schema(topic)), indent=2) + b"\n")
            written.append(path)
    except OSError as error:
        raise HeadgateError(f"{folder}: {error.strerror}; expected a folder that we may write to") from error
    return written


def _null_as_absent(definition: Json) -> None:
    """Null in an optional field is as if it were absent, also where it has another default than null."""
    optional = definition["properties"].keys() - definition.get("required", ())
    for name in optional:
        field = definition["properties"][name]
        if not _takes_null(field):
            default = {"default": field.pop("default")} if "default" in field else {}
            definition["properties"][name] = {"anyOf": [field, {"type": "null"}], **default}


def _takes_null(field: Json) -> bool:
    return field.get("type") == "null" or any(_takes_null(part) for part in field.get("anyOf", ()))


def _of_alternatives(definitions: Json) -> str:
    return " Or: ".join(part["description"] for part in definitions.values())


def _reflow(docstring: str) -> str:
    return "\n".join(" ".join(paragraph.split()) for paragraph in docstring.split("\n\n"))
