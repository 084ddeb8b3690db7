"""Where a Redis is: one server, a group that Sentinels watch, or a Cluster.

    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]
    unix://[[USER]:PASSWORD@]/PATH[?db=DB]
    redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT].../SERVICE[/DB]
    redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],HOST[:PORT]...

`rediss` in place of `redis` is the same over TLS. Further options stand behind `?`; see OPTIONS. User and password are
percent-encoded (RFC 3986). No message repeats the URL or a part of it that could be a password.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

Form = Literal["server", "sentinel", "cluster"]

SCHEMES: dict[str, tuple[Form, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "unix": ("server", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""What each scheme names, and whether it is spoken to over TLS."""

OPTIONS = {
    "db": "unix",
    "ssl_ca_certs": "TLS",
    "ssl_certfile": "TLS",
    "ssl_keyfile": "TLS",
    "ssl_check_hostname": "TLS",
    "sentinel_username": "Sentinel",
    "sentinel_password": "Sentinel",
}
"""The options, with the names that redis-py gives them, and where each may stand."""

MAX_HOSTS = 32
MAX_DB = 65_535
_PORTS: dict[Form, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}


class RedisUrl(msgspec.Struct, frozen=True):
    """A URL, taken apart."""

    form: Form
    hosts: tuple[tuple[str, int], ...] = ()
    """Empty for a Unix socket."""
    path: str | None = None
    """Of a Unix socket."""
    service: str = ""
    """The name of the group that Sentinels watch."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ssl_ca_certs: str | None = None
    """A PEM bundle of the authorities to trust in place of the system's."""
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    def __str__(self) -> str:
        """Without user, passwords and options: fit for every log."""
        if self.path is not None:
            return f"unix://{self.path}"
        scheme = next(name for name, what in SCHEMES.items() if what == (self.form, self.tls) and name != "unix")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}://{hosts}{f'/{self.service}' if self.service else ''}"

    __repr__ = __str__


def parse(text: str) -> RedisUrl:
    """A URL of the forms above.

    Raises:
        ValueError: it is none; the message says what would be right.
    """
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"expected a URL that begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    if not text.isprintable() or " " in text or "#" in text:
        raise ValueError("holds characters that no URL has; what is special in a password is percent-encoded")
    parts = urlsplit(text)
    form, tls = SCHEMES[scheme]
    user, _, authority = parts.netloc.rpartition("@")
    username, password = _credentials(user)
    options = _options(parts.query, scheme, form, tls=tls)
    common: dict[str, Any] = {"form": form, "tls": tls, "username": username, "password": password, **options}
    if scheme == "unix":
        if not parts.path.startswith("/") or authority:
            raise ValueError("names no socket; write unix:///absolute/path")
        return RedisUrl(path=unquote(parts.path), **common)
    hosts = tuple(_host(each, _PORTS[form]) for each in authority.split(","))
    if len(hosts) > (1 if form == "server" else MAX_HOSTS):
        raise ValueError(f"names {len(hosts)} hosts; a {form} has at most {1 if form == 'server' else MAX_HOSTS}")
    steps = [unquote(step) for step in parts.path.strip("/").split("/")] if parts.path.strip("/") else []
    if form == "sentinel":
        if not steps or len(steps) > 2:
            raise ValueError("names no service; write redis+sentinel://HOST:PORT,HOST:PORT/SERVICE")
        return RedisUrl(hosts=hosts, service=steps[0], db=_db(steps[1:]), **common)
    if form == "cluster" and steps:
        raise ValueError("a Cluster has one database; its URL ends with the hosts")
    return RedisUrl(hosts=hosts, db=_db(steps), **common)


def _credentials(text: str) -> tuple[str | None, str | None]:
    name, colon, password = text.partition(":")
    if text and not colon:
        raise ValueError("has a user without a password; write USER:PASSWORD@, or :PASSWORD@ for the default user")
    return unquote(name) or None, unquote(password) or None


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        named = parts.port
    except ValueError:
        named = 0
    if named == 0 or not parts.hostname or text.endswith(":"):
        raise ValueError("its host or port is malformed; expected HOST or HOST:PORT with a port from 1 to 65535")
    return parts.hostname, named or port


def _db(steps: list[str]) -> int:
    if not steps:
        return 0
    if len(steps) > 1 or not steps[0].isascii() or not steps[0].isdigit() or int(steps[0]) > MAX_DB:
        raise ValueError(f"its path is no database; expected a number from 0 to {MAX_DB:,}")
    return int(steps[0])


def _options(query: str, scheme: str, form: Form, *, tls: bool) -> dict[str, object]:
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=len(OPTIONS))
    except ValueError:
        raise ValueError("its options are malformed; expected ?NAME=VALUE&NAME=VALUE") from None
    holds = {"unix": scheme == "unix", "TLS": tls, "Sentinel": form == "sentinel"}
    values: dict[str, object] = {}
    for name, value in given:
        if name not in OPTIONS:
            raise ValueError(f"has an option that is not known; there are {', '.join(OPTIONS)}")
        if name in values or not value:
            raise ValueError(f"its option {name} is empty or stands twice")
        if not holds[OPTIONS[name]]:
            raise ValueError(f"its option {name} has no meaning here; it is for {OPTIONS[name]}")
        values[name] = value
    if "db" in values:
        values["db"] = _db([str(values["db"])])
    if "ssl_check_hostname" in values:
        if values["ssl_check_hostname"] not in ("true", "false"):
            raise ValueError("its option ssl_check_hostname is neither true nor false")
        values["ssl_check_hostname"] = values["ssl_check_hostname"] == "true"
    return values
