from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from gateway.supervisor import sd_notify


def test_nobody_is_told_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert sd_notify("READY=1") is False


@pytest.mark.skipif(sys.platform != "linux", reason="abstract socket names are Linux's")
def test_an_abstract_name_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"throughway-test-{tmp_path.name}"
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name)
        assert sd_notify("READY=1") is True
        assert systemd.recv(100) == b"READY=1"
