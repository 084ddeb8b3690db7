"""TLS contexts made of files, and made anew when the files have changed.

A context is never changed once it is in use: what has changed makes another, which new connections take. So a pair that does
not fit, or a file that is half written, never reaches a connection, and a certificate authority that is withdrawn takes the
sessions with it that were opened under it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.base.certificates import explain, load_pair
from gateway.base.files import Signature, signature
from gateway.base.node import Tls
from gateway.base.snapshot import Provider

_Signatures = tuple[Signature, ...]


class TlsFiles:
    """A context and the files it was made of.

    Args:
        name: whose it is, for messages.
        make: makes the context. Raises OSError or ssl.SSLError.
        files: what `make` reads.

    Raises:
        OSError, ssl.SSLError: the first context cannot be made.
    """

    def __init__(self, name: str, make: Callable[[], ssl.SSLContext], files: tuple[str, ...]) -> None:
        self.name = name
        self.files = files
        self._make = make
        self._of = self._signatures()
        """Of the files when the context was made, or was last found impossible to make."""
        self._doubtful: _Signatures | None = None
        self.context = make()

    def renew(self) -> str | None:
        """Makes the context anew if the files have changed: "" if it did, None if it did not, else what is wrong with them.

        Reads files: not for the loop's thread. Files are replaced one after another, so that what does not fit is told only
        when it is still the same the next time; and then once.
        """
        now = self._signatures()
        if now == self._of:
            self._doubtful = None
            return None
        try:
            context = self._make()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            if now != self._doubtful:
                self._doubtful = now
                return None
            self._of = now
            return explain(error)
        self._of, self.context = now, context
        return ""

    def _signatures(self) -> _Signatures:
        return tuple(signature(Path(file)) for file in self.files)  # links are followed, as a Kubernetes secret needs


def server_context(tls: Tls, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """Of a listener that speaks these protocols. Raises OSError, ssl.SSLError or ValueError for bad files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, tls.cert_file, tls.key_file)
    context.set_alpn_protocols(protocols)
    if tls.client_ca_file is not None:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED if tls.client_auth == "required" else ssl.CERT_OPTIONAL
    return context


def server_files(
    tls: Tls | None, name: str = "the listener", protocols: Sequence[str] = ("http/1.1",)
) -> TlsFiles | None:
    """Raises as `server_context`."""
    if tls is None:
        return None
    files = (tls.cert_file, tls.key_file, *([tls.client_ca_file] if tls.client_ca_file is not None else []))
    return TlsFiles(name, lambda: server_context(tls, protocols), files)


def provider_context(provider: Provider) -> ssl.SSLContext:
    """Verifying, with the provider's own CA bundle where it has one. Raises OSError, ssl.SSLError or ValueError for bad files."""
    context = ssl.create_default_context(cafile=provider.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if provider.cert_file is not None and provider.key_file is not None:
        load_pair(context, provider.cert_file, provider.key_file)
    return context


def provider_files(provider: Provider) -> TlsFiles:
    """Raises as `provider_context`."""
    files = tuple(file for file in (provider.ca_file, provider.cert_file, provider.key_file) if file is not None)
    return TlsFiles(f"the provider {provider.name!r}", lambda: provider_context(provider), files)
