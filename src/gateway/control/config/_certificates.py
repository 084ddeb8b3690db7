"""Whether certificates, keys and authorities can be used, each where it stands in the file."""

from __future__ import annotations

import ssl
from typing import Any

from gateway.base.certificates import explain, load_pair
from gateway.control.config._reading import Path_, Reading

Values = dict[str, Any]


def check_certificates(values: Values, reading: Reading) -> None:
    """Tells the reading of each that cannot be used. Nothing of a key is kept or shown."""
    _check(("tls",), values.get("tls", {}), "client_ca_file", reading)
    _check(("http2", "tls"), values.get("http2", {}).get("tls", {}), "client_ca_file", reading)
    for name, provider in values.get("providers", {}).items():
        path = ("providers", name)
        _check((*path, "tls"), provider.get("tls", {}), "ca_file", reading)
        if "ca_file" in provider:
            _check(path, {"ca_file": provider["ca_file"]}, "ca_file", reading)


def _check(path: Path_, tls: Values, authorities: str, reading: Reading) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        if authorities in tls:
            context.load_verify_locations(tls[authorities])
    except (OSError, ValueError) as error:
        reading.error((*path, authorities), f"{tls[authorities]} cannot be used: {explain(error)}")
    try:
        if "cert_file" in tls and "key_file" in tls:
            load_pair(context, tls["cert_file"], tls["key_file"])
    except (OSError, ValueError) as error:
        files = f"{tls['cert_file']} and {tls['key_file']}"
        reading.error((*path, "cert_file"), f"{files} cannot be used: {explain(error)}")
