"""How records are read and written."""

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from schemas.reasons import reason

Decoded = TypeVar("Decoded")

ENCODER = msgspec.json.Encoder()


class Codec(Generic[Decoded]):
    """Decodes one topic's values: plain JSON, or JSON behind Confluent framing.

    The framing is a zero byte and a schema id of four bytes.
    """

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._decoder: msgspec.json.Decoder[Decoded] = msgspec.json.Decoder(type_)

    def decode(self, value: bytes | None) -> Decoded:
        """Raises `msgspec.DecodeError` (a `ValueError`): which field, what was found, what was expected."""
        if not value:
            raise msgspec.DecodeError(
                f"value: found {'null' if value is None else 'nothing'}, expected a JSON object"
            )
        if value[0] == 0 and len(value) > 5:
            value = value[5:]
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:
            raise msgspec.DecodeError(reason(error, value, self._type)) from error
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(
                f"value: found bytes that are not UTF-8 ({error}), expected a JSON object"
            ) from error
        except RecursionError as error:
            raise msgspec.DecodeError(
                "value: found JSON that is nested too deeply, expected a JSON object"
            ) from error

    def _decode(self, value: bytes) -> Decoded:
        try:
            return self._decoder.decode(value)
        except msgspec.ValidationError:
            plain = _without_nulls(value)
            if plain is None:
                raise
            return self._decoder.decode(plain)


def _without_nulls(value: bytes) -> bytes | None:
    """The object without its null fields, for types with other defaults than null; None if it has none."""
    try:
        fields = msgspec.json.decode(value, type=dict[str, Raw])
    except msgspec.ValidationError:
        return None
    kept = {name: raw for name, raw in fields.items() if bytes(raw) != b"null"}
    return ENCODER.encode(kept) if len(kept) < len(fields) else None
