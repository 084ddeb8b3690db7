"""The URLs and hosts of a configuration (RFC 3986), checked strictly.

What two readers could take differently is refused. No message repeats a URL, since one with user information holds a
password.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, unquote, urlsplit

_HOST = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?\Z"
)
_ENDS_IN_NUMBER = re.compile(r"(^|\.)([0-9]+|0[xX][0-9A-Fa-f]*)\.?\Z")
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+\Z")
_BEDROCK_HOST = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.")
_ESCAPES = re.compile(r"%(?![0-9A-Fa-f]{2})")


def base_url(text: str) -> str:
    """A provider's base URL without trailing slash.

    Args:
        text: `http://`, `https://` or `http+unix://` with the socket's path percent-encoded in the host's place.

    Raises:
        ValueError: not such a URL.
    """
    parts = _split(text, ("https", "http", "http+unix"))
    if "?" in text or "#" in text:
        raise ValueError("has a query or fragment; a base URL ends with its path")
    if parts.scheme == "http+unix":
        _check_socket(parts)
    else:
        _check_host(parts)
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        raise ValueError("its path holds `.` or `..`; write it resolved")
    return text.rstrip("/")


def proxy(text: str) -> str:
    """The URL of an HTTP proxy: scheme, host and port.

    Raises:
        ValueError: not such a URL.
    """
    parts = _split(text, ("http",))
    _check_host(parts)
    if parts.path.strip("/") or "?" in text or "#" in text:
        raise ValueError("a proxy's URL ends with its port")
    return text.rstrip("/")


def origin(text: str) -> str:
    """An origin exactly as browsers send it: scheme, host, and the port unless it is the scheme's own; in lower case.

    Raises:
        ValueError: not such an origin.
    """
    parts = _split(text, ("https", "http"))
    _check_host(parts)
    if parts.path or "?" in text or "#" in text:
        raise ValueError(f"an origin ends with its host or port; write {parts.scheme}://{parts.netloc}")
    if parts.port == {"https": 443, "http": 80}[parts.scheme]:
        raise ValueError("browsers leave out the scheme's own port; leave it out too")
    if text != text.lower():
        raise ValueError("browsers send origins in lower case; write it so")
    return text


def doubts(url: str, *, versioned: bool = True) -> list[str]:
    """What is allowed in a base URL and yet most often a mistake.

    Args:
        versioned: the provider's paths begin with a version.
    """
    parts = urlsplit(url)
    found = []
    if parts.scheme == "http" and not is_loopback(host_of(url)):
        found.append("http:// sends prompts and credentials in clear; write https:// where the provider speaks it")
    if versioned and not parts.path:
        found.append("has no path; the version belongs to it as the provider's documentation writes it, such as /v1")
    return found


def aws_region(base_url: str) -> str:
    """The region in the host of an endpoint of Bedrock, a private or FIPS one among them; "" of another host."""
    found = _BEDROCK_HOST.search(host_of(base_url))
    return found[1] if found is not None else ""


def host_of(url: str) -> str:
    """The host of a base URL, in lower case and without brackets; "" for a Unix socket."""
    parts = urlsplit(url)
    return "" if parts.scheme == "http+unix" else (parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. "" is a Unix socket's."""
    name = host.rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):  # RFC 6761
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def listen_host(host: str) -> str:
    """A host to listen on, without brackets.

    Raises:
        ValueError: neither an address nor a host's name.
    """
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1])
    if not _is_host(host):
        raise ValueError(
            'its host is neither an IP address nor a name; an IPv6 address stands in brackets and quotes: "[::1]:8080"'
        )
    return host


def _split(text: str, schemes: tuple[str, ...]) -> SplitResult:
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    if not _CHARACTERS.match(text) or _ESCAPES.search(text):
        raise ValueError(f"holds characters that no URL has; expected {wanted}HOST")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(
            "its host or port is malformed; expected HOST or HOST:PORT with a port from 1 to 65535"
        ) from None
    if parts.scheme not in schemes or not text.startswith(f"{parts.scheme}://"):
        raise ValueError(f"expected a URL that begins with {wanted}")
    if "@" in parts.netloc:
        raise ValueError("holds user information; a secret does not stand in a URL")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("its port is malformed; expected a port from 1 to 65535, or none")
    return parts


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname
    if not host:
        raise ValueError("names no host")
    if ":" in host:
        _ipv6(host)
    elif not _is_host(host):
        raise ValueError("its host is neither a name nor an IP address")


def _check_socket(parts: SplitResult) -> None:
    path = unquote(parts.netloc)
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(
            "names no socket; its absolute path stands percent-encoded in the host's place: http+unix://%2Frun%2Fllm.sock/v1"
        )


def _is_host(host: str) -> bool:
    """Whether it is a name (RFC 1123, with the underscores of container networks) or an IPv4 address of four decimals.

    A name whose last label is a number is an IPv4 address to some readers (`127.1`, `0x7f000001`) and none to others.
    """
    if _ENDS_IN_NUMBER.search(host):
        return _is_ipv4(host)
    return len(host) <= 253 and _HOST.match(host) is not None


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise ValueError("its host is not an IPv6 address") from None
