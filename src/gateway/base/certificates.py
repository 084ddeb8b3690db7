"""Certificates and keys in files: loaded, and what is wrong with them in words."""

from __future__ import annotations

import ssl


def load_pair(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Raises OSError, ssl.SSLError or ValueError: a file cannot be read, the two do not fit, or the key has a password."""
    context.load_cert_chain(cert_file, key_file, password=_no_password)


def _no_password() -> str:
    """Without it, OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted; give one without a password, readable by this process alone")


def explain(error: Exception) -> str:
    """What is wrong, for an operator."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return next((said for known, said in _REASONS if known in reason), reason)
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)


_REASONS = (
    # OpenSSL's reason, or what of it the module passes on; what it means here
    ("key values mismatch", "the key does not belong to the certificate"),
    ("key type mismatch", "the key does not belong to the certificate"),
    ("pem lib", "one of the files holds no PEM certificate or key"),
    ("no start line", "the file holds no PEM certificate"),
    ("no certificate or crl found", "the file holds no PEM certificate"),
)
