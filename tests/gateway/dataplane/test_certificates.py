"""Files that change while a worker serves: what is taken up, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.base.node import Tls
from gateway.base.snapshot import Provider
from gateway.dataplane import certificates
from gateway.dataplane.certificates import follow_certificates
from gateway.dataplane.compile import Pools
from gateway.net.tls import TlsFiles, provider_files
from tests.gateway.net.test_listener import calling, run, serving
from tests.support.certificates import Authority


class FakePools:
    """Pools of providers that use these files."""

    def __init__(self, *files: TlsFiles) -> None:
        self.files = files

    def tls_files(self) -> list[TlsFiles]:
        return list(self.files)


def spoil(file: str) -> None:
    Path(file).write_text("none")


def test_each_outcome_is_told_once_and_new_connections_get_what_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_EVERY_S", 0.01)
    authority = Authority("Test CA")
    pair = authority.issue("localhost").write(tmp_path)
    ours = authority.issue("gateway").write(tmp_path, "gateway")
    provider = provider_files(Provider("p", "openai", "https://x/v1", cert_file=ours[0], key_file=ours[1]))
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    events: list[tuple[str, str, str]] = []

    def report(level: str, event: str, **fields: Any) -> None:
        events.append((level, event, fields["of"]))

    async def told(count: int) -> None:
        while len(events) < count:  # noqa: ASYNC110 - a report is called, it is no future
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        assert len(events) == count, events

    async def main() -> None:
        async with serving(tls=Tls(*pair)) as served:
            assert served.listener.tls is not None
            pools = cast(Pools, FakePools(provider))
            following = asyncio.ensure_future(follow_certificates([served.listener.tls], pools, report))
            await told(0)

            authority.issue("gateway").write(tmp_path, "gateway")
            await told(1)
            spoil(ours[1])
            await told(2)

            fresh = authority.issue("localhost")
            fresh.write(tmp_path)
            await told(3)
            async with calling(served.port, tls=trusting) as client:
                await client.ask()
                assert client.certificate == ssl.PEM_cert_to_DER_cert(fresh.pem.decode())
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    run(main)
    assert events == [
        ("info", "tls.renewed", "the provider 'p'"),
        ("error", "tls.refused", "the provider 'p'"),
        ("info", "tls.renewed", "the listener"),
    ]
