"""A provider that keeps files, batches and responses, as OpenAI's clients ask for them. It runs on threads of its own.

What no such provider has, for tests: `/big/N` answers N bytes, `/stall` nothing, `/echo` what was asked, `/leak` with headers that must not pass.
"""

from __future__ import annotations

import email
import email.policy
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from _fastpath.usage import Usage
from gateway.base.messages import Answer, Choice, Lost, Text
from gateway.codec.dialects.openai_responses import DIALECT

PIECE = bytes(range(256)) * 256


class Asked:
    """A request as it arrived."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name), None)


class FilesProvider:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self.responses: dict[str, dict[str, Any]] = {}
        self.left = threading.Event()
        """A client left while it was being sent something large."""
        self.sent_bytes = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                provider.asked.append(Asked(self.command, self.path, list(self.headers.items()), body))
                provider._answer(self, body)

            do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = do_PATCH = _serve  # noqa: N815 - as the server calls them

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @contextmanager
    def running(self) -> Iterator[FilesProvider]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    # -- what it answers

    def _answer(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        url = urlsplit(to.path)
        match (to.command, url.path.removeprefix("/v1/").split("/")):
            case ("POST", ["files"]):
                self._say(to, self._keep(to.headers.get("content-type", ""), body))
            case ("GET", ["files"]):
                limit = int(parse_qs(url.query).get("limit", ["100"])[0])
                data = [value for value, _ in self.files.values()][:limit]
                self._say(to, {"object": "list", "data": data, "has_more": False})
            case ("GET", ["files", name]) if name in self.files:
                self._say(to, self.files[name][0])
            case ("DELETE", ["files", name]) if name in self.files:
                del self.files[name]
                self._say(to, {"id": name, "object": "file", "deleted": True})
            case ("GET", ["files", name, "content"]) if name in self.files:
                self._send(to, 200, "application/octet-stream", self.files[name][1])
            case ("POST", ["batches"]):
                self._say(to, {"id": "batch_1", "object": "batch", "status": "validating", **json.loads(body)})
            case ("GET", ["batches", name]):
                self._say(to, {"id": name, "object": "batch", "status": "completed"})
            case ("POST", ["responses"]):
                self._respond(to, json.loads(body))
            case ("GET", ["responses", name]) if name in self.responses:
                if "stream=true" in url.query:
                    self._stream(to, self.responses[name])
                else:
                    self._say(to, self.responses[name])
            case ("DELETE", ["responses", name]) if name in self.responses:
                del self.responses[name]
                self._say(to, {"id": name, "object": "response.deleted", "deleted": True})
            case ("POST", ["responses", name, "cancel"]) if name in self.responses:
                self._say(to, {**self.responses[name], "status": "cancelled"})
            case ("GET", ["responses", name, "input_items"]) if name in self.responses:
                item: dict[str, Any] = {"id": "msg_in", "type": "message", "role": "user", "status": "completed"}
                item["content"] = [{"type": "input_text", "text": f"Asked {name} ."}]
                self._say(
                    to, {"object": "list", "data": [item], "has_more": False, "first_id": "msg_in", "last_id": "msg_in"}
                )
            case ("GET", ["big", size]):
                self._send_big(to, int(size))
            case ("GET", ["stall"]):
                time.sleep(3)
            case ("GET", ["leak"]):
                shown = to.headers.get("authorization", "")
                self._send(
                    to,
                    401,
                    "application/json",
                    json.dumps({"error": {"message": "Incorrect key."}}).encode(),
                    ("x-seen", shown),
                )
            case (_, ["echo", *_]):
                self._send(to, 200, to.headers.get("content-type") or "text/plain", body, ("set-cookie", "canary=1"))
            case _:
                self._say(to, {"error": {"message": "No such thing.", "type": "invalid_request_error"}}, 404)

    def _respond(self, to: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        previous = asked.get("previous_response_id")
        if previous is not None and previous not in self.responses:
            self._say(
                to,
                {
                    "error": {
                        "message": f"Previous response {previous} not found.",
                        "code": "previous_response_not_found",
                    }
                },
                400,
            )
            return
        answer = Answer(
            id=f"resp_{len(self.asked):04}",
            model=asked["model"],
            choices=[Choice([Text(f"Hello from {len(self.asked)}")], "stop")],
            created_s=1,
            usage=Usage(11, 7),
        )
        made = json.loads(DIALECT.write_answer(answer, DIALECT.read_request(json.dumps(asked).encode(), Lost())))
        made["previous_response_id"] = previous
        self.responses[made["id"]] = made
        if asked.get("stream"):
            self._stream(to, made)
        else:
            self._say(to, made)

    def _stream(self, to: BaseHTTPRequestHandler, made: dict[str, Any]) -> None:
        """Of its events those that have a response, and one that has not."""
        began = {**made, "status": "in_progress", "output": [], "usage": None}
        item = made["output"][0]
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": began},
            {"type": "response.in_progress", "response": began},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
            {
                "type": "response.output_text.delta",
                "output_index": 0,
                "item_id": item["id"],
                "content_index": 0,
                "delta": "Hello",
                "logprobs": [],
            },
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": made},
        ]
        texts = [
            f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n" for n, e in enumerate(events)
        ]
        self._send(to, 200, "text/event-stream", "".join(texts).encode())

    def _keep(self, content_type: str, body: bytes) -> dict[str, Any]:
        message = email.message_from_bytes(
            b"content-type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        parts = {str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()}
        content = parts["file"].get_payload(decode=True)
        assert isinstance(content, bytes)
        value = {
            "id": f"file-{len(self.asked)}",
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": parts["file"].get_filename(),
            "purpose": str(parts["purpose"].get_content()),
            "status": "processed",
        }
        self.files[str(value["id"])] = (value, content)
        return value

    def _send_big(self, to: BaseHTTPRequestHandler, size: int) -> None:
        to.send_response(200)
        to.send_header("content-type", "application/octet-stream")
        to.send_header("content-length", str(size))
        to.end_headers()
        self.sent_bytes = 0
        try:
            while self.sent_bytes < size:
                to.wfile.write(PIECE[: size - self.sent_bytes])
                self.sent_bytes += min(len(PIECE), size - self.sent_bytes)
        except OSError:
            self.left.set()

    def _say(self, to: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
        self._send(to, status, "application/json", json.dumps(value).encode())

    def _send(self, to: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, *headers: tuple[str, str]) -> None:
        to.send_response(status)
        for name, value in (("content-type", kind), ("content-length", str(len(body))), *headers):
            to.send_header(name, value)
        to.end_headers()
        if to.command != "HEAD":
            to.wfile.write(body)
