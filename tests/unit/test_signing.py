"""Signatures of control records: what is signed, whose are accepted, and where keys come from."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import schemas
from schemas.errors import HeadgateError
from schemas.settings import Settings, Signing, load
from schemas.signing import HEADER, VARIABLE, Key, Keyring, keyring

OLD, NEW = Key("2026-05", b"a" * 32), Key("2026-11", b"b" * 32)
VALUE = b'{"model":"ranker","generation":7}'
VECTORS = json.loads((Path(schemas.__file__).parent / "signing_vectors.json").read_bytes())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_signatures_are_those_of_the_vectors_for_other_languages(vector: dict[str, str]) -> None:
    value = bytes.fromhex(vector["value_hex"])
    keys = Keyring([Key(vector["key"], bytes.fromhex(vector["secret"]))])
    assert keys.sign(value) == [(HEADER, vector["signature"].encode())]
    assert keys.mistake(value, [(HEADER, vector["signature"].encode())]) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_says_the_same(tmp_path: Path) -> None:
    vector = VECTORS[0]
    file = tmp_path / "value"
    file.write_bytes(bytes.fromhex(vector["value_hex"]))
    command = [
        "openssl",
        "dgst",
        "-sha256",
        "-mac",
        "HMAC",
        "-macopt",
        f"hexkey:{vector['secret']}",
        str(file),
    ]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert said.split()[-1] == vector["signature"].rpartition("=")[2]


def test_without_keys_nothing_is_signed_and_nothing_refused() -> None:
    keys = Keyring()
    assert not keys
    assert keys.sign(VALUE) == []
    assert keys.mistake(VALUE, []) is None
    assert keys.mistake(VALUE, [(HEADER, b"nonsense")]) is None


def test_the_first_key_signs_and_all_are_accepted() -> None:
    before, during, after = Keyring([OLD]), Keyring([NEW, OLD]), Keyring([NEW])
    assert during.ids == ["2026-11", "2026-05"]
    for writer, reader in ((before, during), (during, after), (during, during)):
        assert reader.mistake(VALUE, writer.sign(VALUE)) is None
    assert (
        before.mistake(VALUE, during.sign(VALUE)) == "it is signed with key 2026-11, expected one of 2026-05"
    )
    assert (
        after.mistake(VALUE, before.sign(VALUE)) == "it is signed with key 2026-05, expected one of 2026-11"
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], "it is not signed"),
        ([("other", b"v1;key=2026-11;hmac=" + b"0" * 64)], "it is not signed"),
        ([(HEADER, None)], "found ''"),
        ([(HEADER, b"")], "found ''"),
        ([(HEADER, b"\xff\xfe")], "expected v1;key="),
        ([(HEADER, b"v2;key=2026-11;hmac=" + b"0" * 64)], "found 'v2;key=2026-11"),
        ([(HEADER, b"v1;key=2026-11;hmac=" + b"0" * 63)], "64 hexadecimal digits"),
        ([(HEADER, b"v1;key=2026-11;hmac=" + b"0" * 64)], "does not fit"),
        ([(HEADER, b"v1;key=2026-11;hmac=" + b"0" * 64)] * 2, "found 2 headers"),
        ([(HEADER, b"v1;key=2027-01;hmac=" + b"0" * 64)], "signed with key 2027-01, expected one of 2026-11"),
    ],
)
def test_a_bad_signature_is_refused_with_a_reason(
    headers: list[tuple[str, bytes | None]], expected: str
) -> None:
    assert expected in (Keyring([NEW]).mistake(VALUE, headers) or "")


def test_one_byte_more_or_less_or_another_does_not_fit() -> None:
    keys = Keyring([NEW])
    headers = keys.sign(VALUE)
    for value in (VALUE + b" ", VALUE[:-1], VALUE.replace(b"7", b"8"), b""):
        assert "does not fit" in (keys.mistake(value, headers) or "")


def test_another_secret_of_the_same_name_does_not_fit() -> None:
    headers = Keyring([Key("2026-11", b"c" * 32)]).sign(VALUE)
    assert "another key 2026-11" in (Keyring([NEW]).mistake(VALUE, headers) or "")


def test_while_signing_is_introduced_unsigned_records_pass_and_forged_ones_do_not() -> None:
    keys = Keyring([NEW], required=False)
    assert keys.mistake(VALUE, []) is None
    assert keys.mistake(VALUE, [(HEADER, b"v1;key=2026-11;hmac=" + b"0" * 64)]) is not None


def test_what_the_present_key_has_signed_is_current() -> None:
    keys = Keyring([NEW, OLD])
    assert keys.is_current(keys.sign(VALUE))
    assert not keys.is_current(Keyring([OLD]).sign(VALUE))
    assert not keys.is_current([])


def file(folder: Path, text: str) -> Signing:
    path = folder / "keys"
    path.write_text(text)
    return Signing(keys=str(path))


def test_keys_come_from_a_file_with_comments(tmp_path: Path) -> None:
    text = f"# rotated in November\n2026-11:{'0a' * 32}  # signs\n\n2026-05:{'0B' * 40}\n"
    keys = keyring(file(tmp_path, text), {})
    assert keys.ids == ["2026-11", "2026-05"]
    assert keys.sign(VALUE) == Keyring([Key("2026-11", b"\x0a" * 32)]).sign(VALUE)


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    settings = file(tmp_path, f"2026-05:{'0a' * 32}\n")
    assert keyring(settings, {VARIABLE: f"a:{'01' * 32},b:{'02' * 32}"}).ids == ["a", "b"]
    assert keyring(settings, {VARIABLE: ""}).ids == ["2026-05"]


def test_without_either_there_are_none() -> None:
    assert keyring(Settings().signing, {}).ids == []


SECRET = "deadbeef"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found no key"),
        ("# nothing\n", "found no key"),
        (f"a:{'01' * 32}\nb={SECRET}\n", ":2: found no key, expected NAME:SECRET"),
        (f"a:{SECRET}x\n", ":1: found no key"),
        (f"a b:{'01' * 32}\n", ":1: found no key"),
        (f"a:{SECRET}\n", ":1: key a: found 4 bytes, expected at least 32"),
        (f"a:{'01' * 31}0\n", ":1: found no key"),
        (f"a:{'01' * 32}\na:{'02' * 32}\n", ":2: found key a again"),
    ],
)
def test_a_mistake_in_a_key_file_is_named_by_its_line_and_no_secret_is_told(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(HeadgateError) as raised:
        keyring(file(tmp_path, text), {})
    assert expected in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadgateError, match="none: No such file or directory, expected the file that"):
        keyring(Signing(keys=str(tmp_path / "none")), {})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(HeadgateError, match="not UTF-8"):
        keyring(Signing(keys=str(path)), {})


def test_headgate_toml_names_the_file_and_takes_no_key_in_clear(tmp_path: Path) -> None:
    toml = tmp_path / "headgate.toml"
    toml.write_text('[signing]\nkeys = "/etc/headgate/keys"\nrequired = false\n')
    assert load(toml, {}).signing == Signing(keys="/etc/headgate/keys", required=False)
    toml.write_text('[signing]\nsecret = "00"\n')
    with pytest.raises(HeadgateError, match="secret"):
        load(toml, {})
