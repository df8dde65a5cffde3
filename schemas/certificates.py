"""Are the files that TLS is set up with what they must be? Asked once, when settings are read, so that a
broken file is one line and no traceback of whichever client opens it first.
"""

import ssl

from schemas.errors import HeadgateError


def check_authorities(setting: str, file: str) -> None:
    """Raises `HeadgateError` where `file`, which `setting` names, holds no certificates of authorities; an
    empty name is none to look at.
    """
    if not file:
        return
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise HeadgateError(
            f"{setting} in headgate.toml: {file}: {_complaint(error)}; expected certificates of authorities "
            "in PEM format"
        ) from error


def check_pair(certificate: str, key: str, password: str) -> None:
    """Raises `HeadgateError` where Kafka's client certificate and its key (empty: in the same file) do not
    make a pair that this password opens; an empty name of the certificate is none to look at.
    """
    if not certificate:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key or None, password)
    except OSError as error:
        files = f"{certificate}, {key}" if key else certificate
        raise HeadgateError(
            f"[kafka] ssl_certificate, ssl_key in headgate.toml: {files}: {_complaint(error)}; expected a "
            "certificate and its key in PEM format, and in ssl_key_password what opens the key"
        ) from error


def _complaint(error: OSError) -> str:
    """OpenSSL's reason in words, else the operating system's."""
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "OpenSSL cannot read it"
    return error.strerror or str(error)
