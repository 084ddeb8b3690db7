"""HAProxy and nginx as they stand in front of a gateway, and behind it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

SEARCHED = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
START_S = 10.0

_HAPROXY = """\
global
  maxconn 500
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
"""
_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
{servers}
}}
"""


class Balancer:
    """A process with a configuration of its own. Use it as a context manager.

    Args:
        command: its name and arguments.
        folder: where it runs.
        ports: that it listens on once it is ready.
    """

    def __init__(self, command: list[str], folder: Path, ports: list[int]) -> None:
        program = shutil.which(command[0], path=SEARCHED)
        assert program is not None, f"{command[0]} is not installed; .ci/run does that"
        self._command = [program, *command[1:]]
        self._folder = folder
        self._ports = ports

    def __enter__(self) -> Self:
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            self._command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + START_S
        for port in self._ports:
            while not _listens(port):
                assert self._process.poll() is None and time.monotonic() < deadline, self.log
                time.sleep(0.01)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()


def haproxy(folder: Path, sections: str, *ports: int) -> Balancer:
    """HAProxy with these sections of its configuration."""
    folder.mkdir()
    (folder / "haproxy.cfg").write_text(_HAPROXY + sections)
    return Balancer(["haproxy", "-db", "-f", "haproxy.cfg"], folder, list(ports))


def nginx(folder: Path, servers: str, *ports: int) -> Balancer:
    """nginx with these `server` blocks."""
    folder.mkdir()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, servers=servers))
    return Balancer(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder, list(ports))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
