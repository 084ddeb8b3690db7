"""The schema of gateway.yaml, as data.

Validation, docs/configuration.md, docs/gateway.schema.json and `check --print` walk it. Defaults are those of the
structs in `gateway.base`: they stand there alone.
"""

from __future__ import annotations

from gateway.base.credentials import ISSUERS
from gateway.base.node import Bounds, Cors, Node, ServerTimeouts
from gateway.base.snapshot import PASSED_METHODS, Provider, Target, Timeouts
from gateway.control.config._compatible import COMPATIBLE
from gateway.control.config._kinds import (
    BaseUrl,
    Choice,
    Date,
    Field,
    FilePath,
    Flag,
    HeaderName,
    HeaderToken,
    HeaderValue,
    Integer,
    Listener,
    Many,
    Name,
    Named,
    Network,
    Origin,
    PassedHeader,
    PassedPath,
    PassedProvider,
    PresetRecord,
    ProxyUrl,
    Record,
    RedisServer,
    Reference,
    SecretReference,
    ServerUrl,
    ServiceAccountFile,
    TrueOr,
    Usd,
    Workers,
)
from gateway.control.registry import ESTIMATED, INPUTS

MAX_MODEL_NAME = 256
ENCODINGS = ("o200k_base", "o200k_harmony", "cl100k_base")
SHORTEST_KEY = 16

_MS = Integer(maximum=86_400_000)
_COUNT = Integer(maximum=1_000_000_000)
_BYTES = Integer(maximum=2**50)
_RATE = Integer(maximum=1_000_000_000)

# Nameless samples of the structs, for their defaults.
_node, _server_timeouts, _bounds, _timeouts = Node(), ServerTimeouts(), Bounds(), Timeouts()
_cors = Cors(())
_provider, _target = Provider("", "openai", ""), Target("", "")

TLS = Record(
    fields={
        "cert_file": Field(FilePath(), "PEM: the certificate and those that lead to its root.", required=True),
        "key_file": Field(FilePath(), "PEM: its private key, without a password.", required=True),
    }
)

CALLERS_TLS = Record(
    fields={
        **TLS.fields,
        "client_ca_file": Field(
            FilePath(), "PEM: the authorities whose certificates callers show. Absent: nobody is asked."
        ),
        "client_auth": Field(
            Choice(of=("required", "optional")),
            "Whether a caller without a certificate is refused. Absent: `required`, with `client_ca_file`.",
        ),
    }
)

PROXY_PROTOCOL = Record(
    fields={
        "from": Field(
            Many(of=Network(unix=True), shortest=1),
            "The load balancers: their connections must begin with a header, and nobody else's may.",
            required=True,
        ),
    }
)

PRICE = Record(
    fields={
        "input_usd_per_million": Field(Usd(), "Of a million input tokens.", required=True),
        "output_usd_per_million": Field(Usd(), "Of a million output tokens.", required=True),
        "cache_read_usd_per_million": Field(
            Usd(), "Of input tokens that the provider read from its cache; else as input."
        ),
        "cache_write_usd_per_million": Field(
            Usd(), "Of input tokens that the provider wrote to its cache; else as input."
        ),
        "input_audio_usd_per_million": Field(Usd(), "Of audio tokens put in; else as input."),
        "output_audio_usd_per_million": Field(Usd(), "Of audio tokens put out; else as output."),
        "request_usd": Field(Usd(), "Of each request, beside its tokens."),
    }
)

LIMITS = Record(
    fields={
        "requests_per_minute": Field(_RATE, "A bucket of so many requests that refills evenly."),
        "tokens_per_minute": Field(_RATE, "A bucket of so many tokens, input and output, that refills evenly."),
        "concurrency": Field(Integer(maximum=10_000_000), "Requests at the same time."),
    }
)

BUDGET = Record(
    fields={
        "usd": Field(Usd(positive=True), "What may be spent in a period. Exact: no binary fractions.", required=True),
        "per": Field(Choice(of=("day", "week", "month", "total")), "The calendar period, in UTC.", required=True),
    }
)

AWS = Record(
    fields={
        "region": Field(
            Name(what="a region of AWS", longest=40),
            "Whose service answers, such as us-east-1. Absent: as the host of base_url says.",
        ),
        "access_key_id": Field(SecretReference(), "Who asks.", required=True),
        "secret_access_key": Field(SecretReference(), "What the signatures are made with.", required=True),
        "session_token": Field(SecretReference(), "Of a credential for a time. It is not renewed: it is read once."),
    }
)

AUTH = Record(
    fields={
        "kind": Field(
            Choice(of=tuple(ISSUERS)),
            "`google_service_account`: for the key in `key_file`. `google_metadata`: of the account that the machine or the pod runs as. "
            "`entra_client_secret`: of a registered application, for its secret. `entra_managed_identity`: of the machine. "
            "`entra_workload_identity`: of the pod.",
            required=True,
        ),
        "key_file": Field(ServiceAccountFile(), "Of `google_service_account`: its key, as Google's console writes it."),
        "tenant_id": Field(
            Name(what="a tenant", longest=100),
            "Of `entra_client_secret` and `entra_workload_identity`. Absent in the latter: AZURE_TENANT_ID of the node.",
        ),
        "client_id": Field(
            Name(what="a client's id", longest=100),
            "The application's, or the managed identity's where the machine has several. Absent in `entra_workload_identity`: AZURE_CLIENT_ID "
            "of the node.",
        ),
        "client_secret": Field(SecretReference(), "Of `entra_client_secret`."),
        "token_file": Field(
            FilePath(must_exist=False),
            "Of `entra_workload_identity`: what the pod shows of itself. Absent: AZURE_FEDERATED_TOKEN_FILE of the node.",
        ),
        "scope": Field(
            Name(what="a scope", longest=500),
            "What the token is good for. Absent: https://www.googleapis.com/auth/cloud-platform, and for Entra "
            "https://cognitiveservices.azure.com/.default.",
        ),
        "endpoint": Field(
            Name(what="a URL", longest=500),
            "Who issues the tokens, where that is not the documented one: another cloud's authority, such as https://login.microsoftonline.us. "
            "A service account's key says it itself.",
        ),
    }
)

PROVIDER = PresetRecord(
    preset="kind",
    presets=COMPATIBLE,
    needed=("base_url",),
    fields={
        "kind": Field(
            Choice(of=("openai", "azure", "anthropic", "gemini", "vertex", "vertex_anthropic", "bedrock", *COMPATIBLE)),
            "The dialect it speaks. `openai`: OpenAI and all that is compatible with it. `azure`: the same with Azure's "
            "key, and its deployments where `api_version` is set. `anthropic`: Anthropic's Messages. `gemini`: Google's generateContent. "
            "`vertex`: the same at Vertex AI. `vertex_anthropic`: Anthropic's models at Vertex AI. `bedrock`: Amazon Bedrock's Converse. "
            "All others are of the kind `openai`, with the values of docs/dialects.md for what stands here not.",
            required=True,
        ),
        "base_url": Field(
            BaseUrl(),
            "Where it answers, with the version in the path, if its paths have one. Required, but where the kind tells it.",
        ),
        "api_key": Field(SecretReference(), "The credential sent to it. None: nothing is sent (local models)."),
        "aws": Field(
            AWS,
            "Of a provider of the kind `bedrock`, in place of `api_key`: requests are signed (Signature Version 4).",
        ),
        "auth": Field(
            AUTH,
            "In place of `api_key`: a token of Google or of Microsoft Entra, which each worker fetches and renews ahead of its end; it is "
            "sent as `authorization: Bearer`.",
        ),
        "api_version": Field(
            Name(what="a version of Azure's API", longest=40),
            "Of a provider of the kind `azure`: models are deployments then, and base_url ends with /openai. Absent: Azure's v1 API, where "
            "base_url ends with /openai/v1.",
        ),
        "max_tokens_field": Field(
            Choice(of=("max_tokens", "max_completion_tokens")),
            "How a provider of OpenAI's dialect calls the bound of a chat's answer, where it takes one name only: Mistral `max_tokens`, OpenAI's "
            "reasoning models `max_completion_tokens`; Ollama and TGI take no heed of the latter. A caller's other name is replaced by it. "
            "Absent: as the caller calls it, and `max_completion_tokens` where his dialect is another.",
        ),
        "unsupported_params": Field(
            Many(of=Name(what="a field", longest=200)),
            "Fields of a chat request that a provider of OpenAI's dialect refuses, such as `store` or `messages.name`. One that a caller "
            "sends is left out where it is a hint, or where the model's `drop_params` admits that; else the request is refused. With "
            "`stream_options`, streams are not asked what they used.",
        ),
        "renamed_params": Field(
            Named(name=Name(what="a field", longest=200), of=Name(what="a field", longest=200)),
            "Fields at the top of a chat request, by OpenAI's names, and as this provider calls them: Mistral `seed: random_seed`.",
        ),
        "developer_role": Field(
            Choice(of=("system",)),
            "The role in place of `developer`, of a provider of OpenAI's dialect that does not know it.",
        ),
        "tool_call_ids": Field(
            Choice(of=("alphanumeric_9",)),
            "The shape in which a provider of OpenAI's dialect takes ids of tool calls; others are replaced, each by the same one in calls and "
            "results. Mistral: nine letters or digits. Absent: any.",
        ),
        "responses": Field(
            Choice(of=("native", "translated")),
            "Whether it answers OpenAI's Responses itself or by way of its other dialect. Absent: `native` at api.openai.com alone.",
        ),
        "headers": Field(
            Named(name=HeaderName(what="a header"), of=HeaderValue()),
            "Sent with each request. What is secret stands by reference: the snapshot is published.",
        ),
        "passthrough": Field(
            TrueOr(
                of=Many(
                    of=Record(
                        fields={
                            "path": Field(PassedPath(), "Behind the base URL.", required=True),
                            "methods": Field(
                                Many(of=Choice(of=PASSED_METHODS), shortest=1), "With which.", list(PASSED_METHODS)
                            ),
                        }
                    )
                )
            ),
            "What may be asked of it as it stands, at `/{provider}/...`, by keys that have its name in `passthrough`: `true` for all, or a list of "
            "paths. Nothing there is governed by `models`: whoever may ask so can use any model, file and account setting of it. Absent: nothing.",
        ),
        "passthrough_headers": Field(
            Record(
                fields={
                    "request": Field(Many(of=PassedHeader()), "Of callers', that go on to it."),
                    "answer": Field(Many(of=PassedHeader()), "Of its answers, that come back."),
                }
            ),
            "Headers that are passed through beside those of docs/dialects.md.",
        ),
        "timeouts": Field(
            Record(
                fields={
                    "connect_ms": Field(_MS, "To connect, TLS included.", _timeouts.connect_ms),
                    "first_byte_ms": Field(
                        _MS, "From the request sent to the first byte of the answer.", _timeouts.first_byte_ms
                    ),
                    "gap_ms": Field(_MS, "Between two reads of the answer.", _timeouts.gap_ms),
                    "total_ms": Field(_MS, "Of the whole call.", _timeouts.total_ms),
                }
            ),
            "How long a call may take.",
        ),
        "max_connections": Field(
            Integer(maximum=65_536), "Open at the same time, for each worker.", _provider.max_connections
        ),
        "warm_connections": Field(
            Integer(minimum=0, maximum=65_536), "Kept open ahead of need, by each worker.", _provider.warm_connections
        ),
        "ca_file": Field(FilePath(), "The same as `tls.ca_file`."),
        "tls": Field(
            Record(
                fields={
                    "ca_file": Field(FilePath(), "PEM: the authorities to trust in place of the system's."),
                    "cert_file": Field(FilePath(), "PEM: what is shown to a provider that asks for a certificate."),
                    "key_file": Field(FilePath(), "PEM: its private key, without a password."),
                }
            ),
            "Of connections to it. Files that change are taken up by new connections.",
        ),
        "proxy": Field(
            ProxyUrl(), "An HTTP proxy for CONNECT. Absent: HTTPS_PROXY and NO_PROXY of the node. `direct`: none."
        ),
        "allow_addresses": Field(
            Many(of=Network()),
            "Where it may be although the rule of docs/security.md says no: this machine behind a public name, say.",
        ),
    },
)

CAPABILITIES = Record(
    fields={
        "context_tokens": Field(Integer(maximum=100_000_000), "The longest that prompt and answer may be together."),
        "max_output_tokens": Field(
            Integer(maximum=100_000_000),
            "The longest answer: the bound of a caller who names none, where the provider must be given one (Anthropic). Absent: as the model's "
            "`max_output_tokens`, if that is written; else as the registry knows it.",
        ),
        "input": Field(
            Many(of=Choice(of=INPUTS), shortest=1),
            "What a prompt may hold; what is not in the list, it may not.",
        ),
        "tools": Field(Flag(), "Whether it calls tools."),
        "structured_output": Field(Flag(), "Whether it answers by a JSON schema."),
    }
)

TARGET = Record(
    fields={
        "provider": Field(Reference(what="a provider", section="providers"), "Who answers.", required=True),
        "model": Field(
            Name(what="a model", longest=MAX_MODEL_NAME), "The name that the provider knows. Absent: the model's own."
        ),
        "weight": Field(
            Integer(minimum=0, maximum=1_000_000),
            "Its share of the requests beside the others'. 0: only when others fail.",
            _target.weight,
        ),
        "price": Field(
            PRICE,
            "What it costs. Absent: the public price (genai-prices); 0 for a provider on this machine; else unpriced.",
        ),
        "capabilities": Field(
            CAPABILITIES,
            "What it takes and does: a request that needs more goes to another target, or is refused. Each that is absent: as the model's; else as "
            "the registry of public models knows it; else nothing is refused.",
        ),
    }
)

MODEL = Record(
    fields={
        "targets": Field(
            Many(of=TARGET, shortest=1), "Where requests may go. They fail over to each other.", required=True
        ),
        "fallbacks": Field(
            Many(of=Reference(what="a model", longest=MAX_MODEL_NAME, section="models")),
            "Models that are tried, in order, when every target has failed.",
        ),
        "encoding": Field(
            Choice(of=(*ENCODINGS, ESTIMATED)),
            "The vocabulary with which prompt tokens are counted; `estimated`: as o200k_base, corrected by what providers tell. "
            "Absent: by the name of the first target's model, `estimated` where its vocabulary is not published.",
        ),
        "max_output_tokens": Field(
            Integer(maximum=100_000_000),
            "What a request is taken to ask for when it names no bound: so much is reserved of a budget. Absent: 4,096.",
        ),
        "capabilities": Field(CAPABILITIES, "The same of all its targets, where they say nothing themselves."),
        "drop_params": Field(
            Many(of=Name(what="a field", longest=200, pattern=True)),
            "Fields of requests that may be left out where a target speaks another dialect that has no place for them, such as `seed` or "
            "`tools.strict`; `*`: all. Absent: such a request is refused. What is left out is told in `x-throughway-dropped`.",
        ),
    }
)

TEAM = Record(
    fields={
        "limits": Field(LIMITS, "Of all its keys together."),
        "budget": Field(BUDGET, "Of all its keys together."),
    }
)

KEY = Record(
    fields={
        "name": Field(Name(what="a key's name"), "For ever its name in records, limits and logs.", required=True),
        "key": Field(
            SecretReference(shortest=SHORTEST_KEY), "The secret that callers send. Kept as an HMAC only.", required=True
        ),
        "team": Field(Reference(what="a team", section="teams"), "Whose limits and budget it shares."),
        "models": Field(
            Many(of=Name(what="a model or a pattern", longest=MAX_MODEL_NAME, pattern=True), shortest=1),
            "What it may use: names, or patterns with `*`.",
            ["*"],
        ),
        "limits": Field(LIMITS, "Its own, beside its team's."),
        "budget": Field(BUDGET, "Its own, beside its team's."),
        "passthrough": Field(
            Many(of=PassedProvider(what="a provider", section="providers")),
            "The providers that it may ask as they stand, at `/{provider}/...`; `*`: all that admit it. Absent: none.",
        ),
        "expires": Field(Date(), "When it stops to work."),
    }
)

SCHEMA = Record(
    fields={
        "listen": Field(Listener(), "Where applications ask.", _node.listen),
        "ops": Field(Listener(), "Where /healthz, /readyz and /metrics answer.", _node.ops),
        "admin": Field(
            Record(
                fields={
                    "listen": Field(Listener(), "Where it answers.", _node.admin.listen if _node.admin else None),
                    "token": Field(
                        SecretReference(shortest=SHORTEST_KEY),
                        "Its credential. Absent: made at first start, in `state_dir`.",
                    ),
                }
            ),
            "The control plane's listener.",
        ),
        "redis": Field(
            RedisServer(),
            "Where `throughway config push` publishes the configuration of a fleet; see fleet.md. What it holds wins over this file.",
        ),
        "database": Field(ServerUrl(schemes=("sqlite", "postgresql", "postgres")), "Not used by this version."),
        "state_dir": Field(
            FilePath(must_exist=False), "What the node keeps: keys, ledger, spool, last good snapshot. Absent: `state`."
        ),
        "tls": Field(CALLERS_TLS, "With it, `listen` speaks TLS. Files that change are taken up by new connections."),
        "http2": Field(
            Record(
                fields={
                    "listen": Field(Listener(), "Where it answers; port 8443 by custom.", required=True),
                    "tls": Field(
                        CALLERS_TLS,
                        "With it, clients choose HTTP/2 or HTTP/1.1 (ALPN). Absent: they must know beforehand (h2c).",
                    ),
                    "proxy_protocol": Field(PROXY_PROTOCOL, "As `proxy_protocol`, for connections to this listener."),
                }
            ),
            "A second listener for applications, which speaks HTTP/2 beside HTTP/1.1. Absent: there is none.",
        ),
        "proxy_protocol": Field(
            PROXY_PROTOCOL,
            "Who tells the caller's address in a PROXY header (version 1 or 2) before the first byte to `listen`. Absent: nobody.",
        ),
        "trusted_proxies": Field(
            Record(
                fields={
                    "from": Field(
                        Many(of=Network(unix=True), shortest=1),
                        "The proxies, all of them on the way: the first other address from the right is the caller's.",
                        required=True,
                    ),
                    "header": Field(
                        Choice(of=("x-forwarded-for", "forwarded")),
                        "The one that they write; the other is not read.",
                        "x-forwarded-for",
                    ),
                }
            ),
            "Who tells the caller's address in a header of each request. Absent: nobody.",
        ),
        "cors": Field(
            Record(
                fields={
                    "origins": Field(Many(of=Origin(), shortest=1), "Whose pages may ask; `*`: all.", required=True),
                    "methods": Field(
                        Many(of=Choice(of=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")), shortest=1),
                        "The methods that a preflight is told.",
                        list(_cors.methods),
                    ),
                    "headers": Field(
                        Many(of=HeaderToken()), "The request headers that it is told. Absent: those that it asks for."
                    ),
                    "max_age_s": Field(
                        Integer(minimum=0, maximum=86_400), "How long a browser remembers that.", _cors.max_age_s
                    ),
                }
            ),
            "What browsers are told (cross-origin resource sharing). Absent: nothing, and they keep answers from pages.",
        ),
        "timeouts": Field(
            Record(
                fields={
                    "head_ms": Field(_MS, "For a request's head to arrive.", _server_timeouts.head_ms),
                    "body_gap_ms": Field(_MS, "Between two reads of a request's body.", _server_timeouts.body_gap_ms),
                    "body_ms": Field(
                        _MS,
                        "For a request's body to arrive, and a second more for each `body_bytes_per_s` of it that have come; past it 408.",
                        _server_timeouts.body_ms,
                    ),
                    "body_bytes_per_s": Field(
                        _RATE,
                        "What a body that takes longer than `body_ms` must make.",
                        _server_timeouts.body_bytes_per_s,
                    ),
                    "idle_ms": Field(_MS, "That a connection is kept between requests.", _server_timeouts.idle_ms),
                    "write_ms": Field(
                        _MS, "That a client may take nothing of a waiting answer.", _server_timeouts.write_ms
                    ),
                    "write_bytes_per_s": Field(
                        _RATE,
                        "What a client must take on average of an answer that waits for it for longer than `write_ms`.",
                        _server_timeouts.write_bytes_per_s,
                    ),
                }
            ),
            "Of each edge: of `listen` and of `http2`.",
        ),
        "bounds": Field(
            Record(
                fields={
                    "head_bytes": Field(
                        Integer(minimum=1_024, maximum=1_048_576),
                        "Of a request's head; past it 431.",
                        _bounds.head_bytes,
                    ),
                    "body_bytes": Field(_BYTES, "Of a request's body; past it 413.", _bounds.body_bytes),
                    "all_bodies_bytes": Field(
                        _BYTES, "Of all bodies that a worker holds; past it 503.", _bounds.all_bodies_bytes
                    ),
                    "in_flight": Field(
                        _COUNT, "Requests that a worker has taken and not answered; past it 503.", _bounds.in_flight
                    ),
                    "connections": Field(
                        _COUNT, "Accepted sockets of a worker; past it new ones are closed.", _bounds.connections
                    ),
                }
            ),
            "Of each edge, for each worker.",
        ),
        "drain_grace_ms": Field(
            Integer(minimum=0, maximum=86_400_000), "How long streams may go on after SIGTERM.", _node.drain_grace_ms
        ),
        "lame_duck_ms": Field(
            Integer(minimum=0, maximum=3_600_000), "How long /readyz fails before listeners close.", _node.lame_duck_ms
        ),
        "log_level": Field(Choice(of=("debug", "info", "warning", "error")), "What is logged.", _node.log_level),
        "spool_bytes": Field(
            Integer(minimum=65_536, maximum=2**50), "Of usage records that wait on disk.", _node.spool_bytes
        ),
        "workers": Field(
            Workers(maximum=1_024), "Processes that serve. `auto`: one for each core that the node may use.", 0
        ),
        "pepper": Field(
            SecretReference(shortest=32),
            "The key of the HMACs as which callers' keys are kept. Absent: made at first start, in `state_dir`; with `redis`, shared there.",
        ),
        "providers": Field(
            Named(name=Name(what="a provider's name"), of=PROVIDER), "The services that answer, by name."
        ),
        "models": Field(
            Named(name=Name(what="a model's name", longest=MAX_MODEL_NAME), of=MODEL),
            "The models, by the name that applications use.",
        ),
        "teams": Field(
            Named(name=Name(what="a team's name"), of=TEAM), "Keys that share limits and a budget, by name."
        ),
        "keys": Field(Many(of=KEY), "Callers' keys, beside those of `throughway keys create`."),
    }
)
