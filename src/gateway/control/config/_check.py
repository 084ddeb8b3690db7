"""What no value shows by itself: names that dangle, stand twice or collide, limits that contradict each other.

Each check takes the normal form, which after a mistake may lack anything, and goes on with what is there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from gateway.base.addresses import Networks, Reach, packed, reach
from gateway.base.credentials import check_endpoint
from gateway.base.node import Address
from gateway.control import _urls
from gateway.control.config._kinds import Secret, credential_fault
from gateway.control.config._reading import Path_, Reading
from gateway.control.config._yaml import Mapping, Node

Values = dict[str, Any]


def check(values: Values, root: Node | None, reading: Reading) -> None:
    """Tells the reading of every mistake between values.

    Args:
        values: the normal form.
        root: the file's tree, which has the names even of what could not be read.
    """
    _references(root, reading)
    _listeners(values, reading)
    _bounds(values, reading)
    _callers(values, reading)
    _unused(values, reading)
    _fleet(values, reading)
    for name, provider in values.get("providers", {}).items():
        _provider(("providers", name), provider, reading)
    _too_many_tokens(values, reading)
    for name, model in values.get("models", {}).items():
        _model(name, model, reading)
    if not names_of(root, "models") and "redis" not in values and not reading.problems:
        reading.warn((), "defines no models: every request will be answered 404")
    _keys(values, root, reading)


def _references(root: Node | None, reading: Reading) -> None:
    for path, section, name in reading.references:
        known = names_of(root, section)
        if name not in known:
            reading.error(path, f'no {section.removesuffix("s")} is named "{name}"{reading.suggestion(name, known)}')


def names_of(root: Node | None, section: str) -> list[str]:
    """The names that a section of the file defines, even those whose values could not be read."""
    node = root.pairs.get(section) if isinstance(root, Mapping) else None
    return list(node.pairs) if isinstance(node, Mapping) else []


def _listeners(values: Values, reading: Reading) -> None:
    seen: dict[Address, str] = {}
    for path, address in sorted(_addresses(values), key=lambda found: found[0] in reading.marks):  # defaults first
        key = ".".join(map(str, path))
        if address.port == 0 and address.path is None:
            continue  # the system chooses
        if address in seen:
            reading.error(path, f"{address} is the address of `{seen[address]}` too; each listener needs its own")
        seen.setdefault(address, key)


def _addresses(values: Values) -> Iterator[tuple[Path_, Address]]:
    for path in (("listen",), ("ops",), ("admin", "listen"), ("http2", "listen")):
        value: Any = values
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, Address):
            yield path, value


def _bounds(values: Values, reading: Reading) -> None:
    bounds = values.get("bounds", {})
    body, all_bodies = bounds.get("body_bytes"), bounds.get("all_bodies_bytes")
    if body and all_bodies and body > all_bodies:
        reading.error(
            ("bounds", "body_bytes"), f"one body of {body:,} bytes would not fit into all_bodies_bytes, {all_bodies:,}"
        )


_SIGNED = ("authorization", "x-amz-date", "x-amz-security-token")
_CREDENTIALS = {
    "openai": "authorization",
    "azure": "api-key",
    "anthropic": "x-api-key",
    "gemini": "x-goog-api-key",
    "bedrock": "authorization",
    "vertex": "x-goog-api-key",
    "vertex_anthropic": "authorization",
}
"""As which header each kind is sent its key, in lower case."""


_GOVERNING = ("model", "messages", "messages.role", "messages.content", "stream")
MAX_TOKEN_PROVIDERS = 64
"""Providers with `auth`: each worker keeps a token for each of them."""
_OF_AUTH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # what each kind of `auth` must have, and what it may
    "google_service_account": (("key_file",), ("scope",)),
    "google_metadata": ((), ("scope", "endpoint")),
    "entra_client_secret": (("tenant_id", "client_id", "client_secret"), ("scope", "endpoint")),
    "entra_managed_identity": ((), ("client_id", "scope", "endpoint")),
    "entra_workload_identity": ((), ("tenant_id", "client_id", "token_file", "scope", "endpoint")),
}


def _callers(values: Values, reading: Reading) -> None:
    tls = values.get("tls", {})
    if "client_auth" in tls and "client_ca_file" not in tls:
        reading.error(("tls", "client_auth"), "has no meaning without `client_ca_file`; write whose certificates count")
    for section in ("proxy_protocol", "trusted_proxies"):
        for index, network in enumerate(values.get(section, {}).get("from", [])):
            if isinstance(network, str) and network.endswith("/0"):
                reading.warn((section, "from", index), "is everybody: any caller may claim any address")
    origins = values.get("cors", {}).get("origins", [])
    if "*" in origins and len(origins) > 1:
        reading.error(("cors", "origins"), "`*` is every origin; write it alone, or leave it out")


def _unused(values: Values, reading: Reading) -> None:
    if "database" in values:
        reading.warn(("database",), "this version does not use it: the ledger is the node's own")


def _fleet(values: Values, reading: Reading) -> None:
    if "redis" in values and "pepper" not in values:
        reading.warn(
            ("redis",),
            "the fleet shares the pepper that Redis keeps: who can read it there can guess keys and sign configurations; "
            "set `pepper: env:NAME` to the same secret on every node",
        )


def _provider(path: Path_, provider: Values, reading: Reading) -> None:
    warm, most = provider.get("warm_connections"), provider.get("max_connections")
    if warm and most and warm > most:
        reading.error((*path, "warm_connections"), f"{warm:,} are more than max_connections, {most:,}")
    seen: set[str] = set()
    for name, value in provider.get("headers", {}).items():
        here = (*path, "headers", name)
        if name.lower() in seen:
            reading.error(here, "stands already, in another case; header names have none")
        elif name.lower() == _CREDENTIALS.get(provider.get("kind", "")) and "api_key" in provider:
            reading.error(here, "is what `api_key` is sent as; keep one of them")
        elif name.lower() in _SIGNED and "aws" in provider:
            reading.error(here, "is what `aws` signs or is shown by; keep one of them")
        elif name.lower() == "authorization" and "auth" in provider:
            reading.error(here, "is what `auth` is sent as; keep one of them")
        elif name.lower() == "anthropic-version" and provider.get("kind") == "anthropic":
            reading.error(here, "is sent as the caller or the gateway speaks it; leave it out")
        elif fault := credential_fault(name, value):
            reading.error(here, fault)
        seen.add(name.lower())

    kind = provider.get("kind")
    if "api_version" in provider and kind not in (None, "azure"):
        reading.error((*path, "api_version"), f"is of providers of the kind `azure`; this one is `{kind}`")
    for key in ("max_tokens_field", "unsupported_params", "renamed_params", "developer_role", "tool_call_ids"):
        if key in provider and kind not in (None, "openai", "azure"):
            reading.error((*path, key), f"is of the kinds `openai` and `azure`; this one is `{kind}`")
    for key in ("unsupported_params", "renamed_params"):
        for index, name in enumerate(provider.get(key, ())):
            if name in _GOVERNING:
                where = index if key == "unsupported_params" else name
                reading.error((*path, key, where), f"`{name}` governs the request; no provider goes without it")
    if provider.get("responses") == "native" and (kind not in (None, "openai", "azure") or "api_version" in provider):
        reading.error(
            (*path, "responses"), "`native` is of the kinds `openai` and `azure`, the latter without `api_version`"
        )
    _provider_aws(path, provider, reading)
    if "auth" in provider:
        _auth((*path, "auth"), provider["auth"], reading)
        for other in ("api_key", "aws"):
            if other in provider:
                reading.error((*path, "auth"), f"stands beside `{other}`; a provider is shown one of them")
        if kind == "bedrock":
            reading.error((*path, "auth"), "is not taken by Amazon Bedrock; write `aws`, or `api_key`")
    _passthrough(path, provider, reading)
    _provider_tls(path, provider, reading)
    _provider_address(path, provider, reading)


def _provider_aws(path: Path_, provider: Values, reading: Reading) -> None:
    kind, aws = provider.get("kind"), provider.get("aws")
    if aws is None:
        if kind == "bedrock" and "api_key" not in provider:
            reading.warn(path, "shows nobody who asks: Bedrock wants `api_key` or `aws`, or a proxy that signs for it")
        return
    if kind not in (None, "bedrock"):
        reading.error((*path, "aws"), f"is of providers of the kind `bedrock`; this one is `{kind}`")
    if "api_key" in provider:
        reading.error((*path, "aws"), "stands beside `api_key`; keep one of them")
    if "region" not in aws and "base_url" in provider and not _urls.aws_region(provider["base_url"]):
        reading.error((*path, "aws"), "has no `region`, and base_url does not tell it; write one, such as us-east-1")


def _auth(path: Path_, auth: Values, reading: Reading) -> None:
    kind = auth.get("kind")
    if kind is None:
        return
    needed, admitted = _OF_AUTH[kind]
    for name in auth:
        if name != "kind" and name not in (*needed, *admitted):
            kinds = ", ".join(f"`{each}`" for each, (must, may) in _OF_AUTH.items() if name in (*must, *may))
            reading.error((*path, name), f"is of {kinds}; this one is `{kind}`")
    for name in needed:
        if name not in auth and (*path, name) not in reading.marks:  # else it stands there, and is told to be wrong
            reading.error(
                (*path, name), f"is missing; a token of the kind `{kind}` is asked for with {_listed(needed)}"
            )
    if "endpoint" in auth:
        try:
            auth["endpoint"] = check_endpoint(auth["endpoint"].rstrip("/"), kind)
        except ValueError as error:
            reading.error((*path, "endpoint"), str(error))


def _listed(names: tuple[str, ...]) -> str:
    *first, last = (f"`{name}`" for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def _too_many_tokens(values: Values, reading: Reading) -> None:
    with_auth = [name for name, provider in values.get("providers", {}).items() if "auth" in provider]
    for name in with_auth[MAX_TOKEN_PROVIDERS:]:
        message = f"is one too many: at most {MAX_TOKEN_PROVIDERS} providers may have `auth`"
        reading.error(("providers", name, "auth"), message)


_OWN_PATHS = ("v1", "v1beta")
"""First segments of the gateway's own paths (`codec.passthrough.RESERVED`)."""


def _passthrough(path: Path_, provider: Values, reading: Reading) -> None:
    name = str(path[-1])
    if provider.get("passthrough"):
        here = (*path, "passthrough")
        if "aws" in provider:
            reading.error(here, "is not for a provider whose requests are signed; give it `api_key` in place of `aws`")
        if name in _OWN_PATHS:
            reading.error(here, f"/{name}/... are the gateway's own paths; give the provider another name")
        elif not re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*", name):
            reading.error(here, f'"{name}" cannot stand in a path as it is; name it with letters, digits and - . _ ~')
    elif provider.get("passthrough_headers"):
        reading.warn((*path, "passthrough_headers"), "has no effect without `passthrough`")


def _provider_tls(path: Path_, provider: Values, reading: Reading) -> None:
    tls, url = provider.get("tls", {}), provider.get("base_url", "https:")
    for one, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if one in tls and other not in tls:
            reading.error((*path, "tls", one), f"stands alone; `{other}` belongs to it")
    if "ca_file" in tls and "ca_file" in provider:
        reading.error((*path, "ca_file"), "stands in `tls` too; keep that one")
    if tls and not url.startswith("https:"):
        reading.warn((*path, "tls"), "has no effect: base_url is not https://")


def _provider_address(path: Path_, provider: Values, reading: Reading) -> None:
    """Addresses that stand in the file; those that names lead to are judged when they are connected to."""
    if "base_url" in provider:
        for doubt in _urls.doubts(provider["base_url"], versioned=provider.get("kind") != "bedrock"):
            reading.warn((*path, "base_url"), doubt)
    allowed = Networks(each for each in provider.get("allow_addresses", []) if isinstance(each, str))
    for key in ("base_url", "proxy"):
        host = _urls.host_of(provider.get(key) or "")
        try:
            address = packed(host)
        except ValueError:
            continue
        found, what = reach(address)
        if found is Reach.NEVER and address not in allowed:
            message = f'{host} is never connected to: {what}; `allow_addresses: ["{host}"]` would allow it'
            reading.error((*path, key), message)


def _model(name: str, model: Values, reading: Reading) -> None:
    path = ("models", name)
    targets = [target for target in model.get("targets", []) if isinstance(target, dict)]
    weights = [target.get("weight") for target in targets]
    if weights and all(weight == 0 for weight in weights):
        reading.error((*path, "targets"), "every weight is 0, so no target would be chosen; give one a weight of 1")
    for here, value in [
        (path, model),
        *(((*path, "targets", at), each) for at, each in enumerate(model.get("targets", []))),
    ]:
        taken = value.get("capabilities", {}).get("input") if isinstance(value, dict) else None
        if taken and "text" not in taken and all(isinstance(each, str) for each in taken):
            reading.error(
                (*here, "capabilities", "input"), "`text` is not in the list, and every prompt holds some; add it"
            )
    seen: set[str] = set()
    for index, fallback in enumerate(model.get("fallbacks", [])):
        here = (*path, "fallbacks", index)
        if fallback == name:
            reading.error(here, f'"{name}" cannot fall back to itself')
        elif isinstance(fallback, str) and fallback in seen:
            reading.error(here, f'"{fallback}" stands already in the list')
        elif isinstance(fallback, str):
            seen.add(fallback)


def _keys(values: Values, root: Node | None, reading: Reading) -> None:
    names: dict[str, int] = {}
    secrets: dict[str, str] = {}
    models = names_of(root, "models")
    for index, key in enumerate(values.get("keys", [])):
        if not isinstance(key, dict):
            continue
        path: Path_ = ("keys", index)
        name = key.get("name")
        if name in names:
            reading.error((*path, "name"), f'keys[{names[name]}] is named "{name}" too; names are unique')
        elif isinstance(name, str):
            names[name] = index
        secret = key.get("key")
        if isinstance(secret, Secret) and secret.value:
            if secret.value in secrets:
                reading.error((*path, "key"), f"has the same secret as {secrets[secret.value]}; each key needs its own")
            secrets.setdefault(secret.value, f"keys[{index}]")
        _patterns((*path, "models"), key.get("models", []), models, reading)
        for place, provider in enumerate(key.get("passthrough", [])):
            known = values.get("providers", {}).get(provider)
            if isinstance(known, dict) and not known.get("passthrough"):
                reading.warn(
                    (*path, "passthrough", place), f'the provider "{provider}" admits nothing so: set its `passthrough`'
                )
        _against_team(path, key, values, reading)
        if key.get("expires", time.time() + 1) < time.time():
            reading.warn((*path, "expires"), "lies in the past: the key does not work any more")


def _patterns(path: Path_, patterns: list[Any], models: list[str], reading: Reading) -> None:
    for index, pattern in enumerate(patterns):
        if isinstance(pattern, str) and pattern != "*" and not matches(pattern, models):
            reading.warn((*path, index), f'"{pattern}" matches no model{reading.suggestion(pattern, models)}')


def matches(pattern: str, models: list[str]) -> bool:
    """Whether a name or a pattern with `*` fits one of the models."""
    if "*" not in pattern:
        return pattern in models
    fits = re.compile(".*?".join(map(re.escape, re.sub(r"\*+", "*", pattern).split("*")))).fullmatch
    return any(map(fits, models))


def _against_team(path: Path_, key: Values, values: Values, reading: Reading) -> None:
    team = values.get("teams", {}).get(key.get("team"))
    if not isinstance(team, dict):
        return
    theirs = team.get("limits", {})
    for limit, value in key.get("limits", {}).items():
        if limit in theirs and value > theirs[limit]:
            reading.warn(
                (*path, "limits", limit),
                f"{value:,} is more than the team's {theirs[limit]:,}, which it can never pass",
            )
    ours, their = key.get("budget", {}), team.get("budget", {})
    if (
        ours.get("per")
        and ours.get("per") == their.get("per")
        and ours.get("usd", 0) > their.get("usd", ours.get("usd", 0))
    ):
        reading.warn(
            (*path, "budget", "usd"), "is more than the team's budget of the same period, which it can never pass"
        )
