"""Tells systemd how far the service is (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket


def sd_notify(state: str) -> bool:
    """Sends `state` (`READY=1`, `STOPPING=1`); False where nobody asked to be told.

    Raises:
        OSError: NOTIFY_SOCKET names a socket that does not take it.
    """
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return False
    if name.startswith("@"):  # Linux's abstract namespace
        name = "\0" + name[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.setblocking(False)
        notify.sendto(state.encode(), name)
    return True
