"""Secrets by reference: `env:NAME` reads a variable of the environment, `file:PATH` a file.

White space around a secret is dropped, since most files end with a newline. What is left is 1 to 16,384 visible ASCII
characters (RFC 9110 field-vchar without obs-text), so that no secret can break the header in which it is sent. No
message holds a secret, nor a reference that may be one written in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

MAX_SECRET_BYTES = 16_384

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VISIBLE = re.compile(r"[!-~]+\Z")


class SecretError(ValueError):
    """A reference that gives no secret. The message says why and what would be right."""


class UnresolvedError(SecretError):
    """It is well written, but what it names is not here, or holds no secret. Elsewhere it may."""


def resolve(reference: str, environ: Mapping[str, str]) -> str:
    """The secret that a reference stands for.

    Args:
        reference: `env:NAME` or `file:PATH` with an absolute path.
        environ: where `env:` looks.

    Raises:
        SecretError: not a reference.
        UnresolvedError: the variable or file is missing, empty or no text that can be sent.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env":
        return _checked(_from_environment(rest, environ), f"the environment variable {rest}")
    if scheme == "file" and rest:
        return _checked(_from_file(Path(rest)), f"the file {rest}")
    raise SecretError("a secret does not stand in the file; write env:NAME or file:PATH")


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if not _VARIABLE.match(name):
        raise SecretError("env: is followed by the name of an environment variable: letters, digits and _")
    if name not in environ:
        raise UnresolvedError(f"the environment variable {name} is not set; export {name}=...")
    return environ[name]


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_SECRET_BYTES + 1).decode()
    except OSError as error:
        raise UnresolvedError(f"cannot read the file {path}: {(error.strerror or 'unreadable').lower()}") from None
    except UnicodeDecodeError:
        raise UnresolvedError(f"the file {path} is not text") from None


def _checked(text: str, whence: str) -> str:
    secret = text.strip()
    if not secret:
        raise UnresolvedError(f"{whence} is empty")
    if len(secret) > MAX_SECRET_BYTES:
        raise UnresolvedError(f"{whence} holds more than {MAX_SECRET_BYTES:,} bytes")
    if not _VISIBLE.match(secret):
        raise UnresolvedError(f"{whence} holds white space or characters that are not ASCII; a secret is one word")
    return secret
