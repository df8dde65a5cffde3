"""What may be seen of a raw record that is kept as an example: never a user's id in clear, and of what
producers send along just what the policy names.

A user becomes a keyed hash (HMAC-SHA-256, RFC 2104; its first 128 bits): one user is one hash, and nobody
without the key can tell whose. Without a key a hash of an id would hide nothing, for there are few ids to
try. What equals the user's id elsewhere (a feature, a segment, an input) becomes the hash too, and so does
the id in the text of an error. A request_id is kept as it is: it is what people look for, and no place for a
user's id.
"""

import hmac
import re
from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from schemas.policies import Policy
from schemas.records import Feature, Prediction, Request

Value = TypeVar("Value")

DIGITS = 32
"""Hexadecimal digits of a user's hash."""


class Veil:
    """Records as they may be seen, with one key."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def user(self, user: str | int) -> str:
        """The hash of a user's id; 7 and "7" are one user."""
        return hmac.new(self._key, str(user).encode(), "sha256").hexdigest()[:DIGITS]

    def request(self, record: Request, policy: Policy) -> Request:
        """Raises RecursionError for `inputs` that are nested too deeply."""
        mask = self._mask(record.user)
        inputs = {name: mask.json(raw) for name, raw in _of(record.inputs, policy.examples.inputs).items()}
        return msgspec.structs.replace(
            record,
            user=mask.hashed,
            inputs=inputs,
            features=mask.each(_of(record.features, policy.examples.features)),
            segments=mask.each(_of(record.segments, policy.segments)),
        )

    def prediction(self, record: Prediction, policy: Policy) -> Prediction:
        """Where it does not say whose it is, nothing of the user's can be known in it."""
        mask = self._mask(record.user)
        return msgspec.structs.replace(
            record,
            user=mask.hashed,
            features=mask.each(_of(record.features, policy.examples.features)),
            segments=mask.each(_of(record.segments, policy.segments)),
            error=mask.text(record.error),
        )

    def _mask(self, user: str | int | None) -> "_Mask":
        return _Mask("", None) if user is None else _Mask(str(user), self.user(user))


class _Mask:
    """Puts a user's hash in the place of the id; `hashed` is None where there is no user to hide."""

    def __init__(self, user: str, hashed: str | None) -> None:
        self._user = user
        self.hashed = hashed

    def each(self, values: Mapping[str, Feature] | Mapping[str, str]) -> dict[str, object]:
        return {name: self._put(value) for name, value in values.items()}

    def json(self, raw: msgspec.Raw) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(self._put(msgspec.json.decode(raw))))

    def text(self, text: str | None) -> str | None:
        if text is None or not self.hashed or not self._user:
            return text
        return re.sub(rf"(?<!\w){re.escape(self._user)}(?!\w)", self.hashed, text)

    def _put(self, value: object) -> object:
        if isinstance(value, list):
            return [self._put(each) for each in value]
        if isinstance(value, dict):
            return {self._put(key): self._put(each) for key, each in value.items()}
        return self.hashed if self.hashed and self._is_user(value) else value

    def _is_user(self, value: object) -> bool:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return isinstance(value, str | int) and not isinstance(value, bool) and str(value) == self._user


def _of(values: Mapping[str, Value] | None, names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in (values or {}).items() if name in names}
