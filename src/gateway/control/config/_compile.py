"""The normal form of a configuration to the structs of `gateway.base`.

Nothing can fail here: mistakes were found before.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.base import redis_url
from gateway.base.capabilities import BY_NAME, PARTS
from gateway.base.node import Admin, Bounds, Cors, Http2, Node, ServerTimeouts, Tls, TrustedProxies
from gateway.base.snapshot import (
    Auth,
    Aws,
    Budget,
    Key,
    Limits,
    Model,
    Passage,
    Price,
    Provider,
    Snapshot,
    Target,
    Team,
    Timeouts,
)
from gateway.control import _urls
from gateway.control.config._kinds import Secret
from gateway.control.config._reading import Path_, Reading
from gateway.control.keys import StoredKey, key_hmac
from gateway.control.prices import PriceBook
from gateway.control.registry import ESTIMATED, INPUTS, Facts, encoding_of, registry, told

Values = dict[str, Any]

KEY_ID_PREFIX = "cfg-"
"""Of keys that stand in the file: their id is made of their name, so that it is the same in each reading."""

WARNED_AHEAD = timedelta(days=90)
"""Before a provider retires a model."""
_UNKNOWN = Model("", ())
"""Its defaults are those of a model of which nothing is known."""

_PRICES = {
    "input": "input_usd_per_million",
    "output": "output_usd_per_million",
    "cache_read": "cache_read_usd_per_million",
    "cache_write": "cache_write_usd_per_million",
    "input_audio": "input_audio_usd_per_million",
    "output_audio": "output_audio_usd_per_million",
    "request_nano_usd": "request_usd",
}


def complete(values: Values, reading: Reading) -> PriceBook:
    """Fills in what depends on other values: the names, vocabularies, prices and capabilities of models.

    Returns:
        Where the prices were found, to be kept for the next reading.
    """
    book = PriceBook(Node(state_dir=Path(values["state_dir"])).prices_file)
    for name, model in values.get("models", {}).items():
        encodings: list[str] = []
        for index, target in enumerate(model["targets"]):
            target.setdefault("model", name)
            provider = values["providers"][target["provider"]]
            facts = registry().of(provider["base_url"], target["model"])
            encodings.append(facts.encoding if facts is not None else encoding_of(target["model"]))
            _add_capabilities(("models", name, "targets", index), model, target, facts, reading)
            if "price" not in target:
                price = book.price_of(provider["base_url"], target["model"])
                _add_price(("models", name, "targets", index), target, price, reading)
        model.setdefault("encoding", encodings[0])
        model.setdefault("max_output_tokens", _UNKNOWN.max_output_tokens)
    return book


def _add_capabilities(path: Path_, model: Values, target: Values, facts: Facts | None, reading: Reading) -> None:
    """Of a target: its own, else the model's, else the registry's; `capabilities_from` says which came from where."""
    public = told(facts) if facts is not None else {}
    if "max_output_tokens" in model:  # the model's own bound is no less than what the public knows
        public.pop("max_output_tokens", None)
    layers = [(registry().edition, public)]
    layers += [("config", each["capabilities"]) for each in (model, target) if "capabilities" in each]
    merged = {name: value for _, said in layers for name, value in said.items()}
    if merged:
        target["capabilities_from"] = {name: source for source, said in layers for name in said}
        target["capabilities"] = merged
    if facts is not None and facts.retires and facts.retires <= (_today() + WARNED_AHEAD).isoformat():
        target_model, past = target["model"], facts.retires <= _today().isoformat()
        reading.warn(
            path,
            f'"{target_model}" {"was" if past else "is"} to be retired by its provider on {facts.retires}; choose another model',
        )


def _today() -> date:
    return datetime.now(UTC).date()


def _lacks(capabilities: Values) -> int:
    """As `gateway.base.capabilities` has it."""
    taken = capabilities.get("input", INPUTS)
    says = {**{name: name in taken for name in PARTS}, **capabilities}
    return sum(bit for name, bit in BY_NAME.items() if says.get(name) is False)


def _add_price(path: tuple[str | int, ...], target: Values, price: Price | None, reading: Reading) -> None:
    if price is None:
        reading.warn(
            path, f'no public price of "{target["model"]}" is known: it is unpriced and counts as free; write `price:`'
        )
    else:
        given = {theirs: getattr(price, ours) for ours, theirs in _PRICES.items()}
        target["price"] = {name: nano for name, nano in given.items() if nano is not None}
        target["price_source"] = price.source


def node(values: Values) -> Node:
    """The node's own settings."""
    proxies, cors, http2 = values.get("trusted_proxies"), values.get("cors"), values.get("http2")
    admin, redis = values["admin"], values.get("redis")
    return Node(
        listen=values["listen"],
        ops=values["ops"],
        admin=Admin(admin["listen"], admin["token"].value if "token" in admin else ""),
        redis=redis_url.parse(redis.value) if redis and redis.value else None,
        state_dir=Path(values["state_dir"]),
        tls=_tls(values),
        proxy_protocol=_proxies(values),
        trusted_proxies=TrustedProxies(tuple(proxies["from"]), proxies["header"]) if proxies else None,
        cors=_cors(cors) if cors else None,
        http2=Http2(http2["listen"], _tls(http2), _proxies(http2)) if http2 else None,
        timeouts=ServerTimeouts(**values["timeouts"]),
        bounds=Bounds(**values["bounds"]),
        drain_grace_ms=values["drain_grace_ms"],
        lame_duck_ms=values["lame_duck_ms"],
        log_level=values["log_level"],
        spool_bytes=values["spool_bytes"],
    )


def _cors(values: Values) -> Cors:
    headers = values.get("headers")
    return Cors(
        origins=tuple(values["origins"]),
        methods=tuple(values["methods"]),
        headers=tuple(headers) if headers is not None else None,
        max_age_s=values["max_age_s"],
    )


def _proxies(values: Values) -> tuple[str, ...]:
    return tuple(values.get("proxy_protocol", {}).get("from", ()))


def _tls(values: Values) -> Tls | None:
    return Tls(**values["tls"]) if "tls" in values else None


def snapshot(values: Values, stored: tuple[StoredKey, ...], pepper: bytes) -> Snapshot:
    """All that a request needs, sealed: the same values make the same version."""
    live = (entry.key for entry in stored if entry.live)
    return Snapshot(
        version="",
        providers=tuple(_provider(name, each) for name, each in values.get("providers", {}).items()),
        models=tuple(_model(name, each) for name, each in values.get("models", {}).items()),
        teams=tuple(Team(name, *_governed(each)) for name, each in values.get("teams", {}).items()),
        keys=(*(_key(each, key_hmac(pepper, each["key"].value)) for each in values.get("keys", [])), *live),
    ).sealed()


def keys_unhashed(values: Values) -> tuple[Key, ...]:
    """The file's own keys without their HMACs: to be shown, not to be served."""
    return tuple(_key(each, "") for each in values.get("keys", []))


def with_stored(snapshot: Snapshot, stored: tuple[StoredKey, ...]) -> Snapshot:
    """The same with the store's keys as they are now, but for those that it has no room for: a team that is not there, a name
    that the file's own keys have."""
    declared = tuple(key for key in snapshot.keys if key.id.startswith(KEY_ID_PREFIX))
    names, teams = {key.name for key in declared}, {None, *(team.name for team in snapshot.teams)}
    live = (entry.key for entry in stored if entry.live)
    fitting = (key for key in live if key.team in teams and key.name not in names)
    return msgspec.structs.replace(snapshot, keys=(*declared, *fitting)).sealed()


def _provider(name: str, values: Values) -> Provider:
    api_key, tls = values.get("api_key"), values.get("tls", {})
    return Provider(
        name=name,
        kind=values["kind"],
        base_url=values["base_url"],
        api_key=api_key.reference if api_key else None,
        aws=_aws(values["aws"], values["base_url"]) if "aws" in values else None,
        auth=_auth(values["auth"]) if "auth" in values else None,
        api_version=values.get("api_version"),
        max_tokens_field=values.get("max_tokens_field"),
        unsupported_params=tuple(values.get("unsupported_params", ())),
        renamed_params=tuple(values.get("renamed_params", {}).items()),
        developer_role=values.get("developer_role"),
        tool_call_ids=values.get("tool_call_ids"),
        responses=_answers_responses(values),
        headers=tuple((name, _published(value)) for name, value in values.get("headers", {}).items()),
        passthrough=_passages(values.get("passthrough", False)),
        passthrough_request_headers=tuple(values.get("passthrough_headers", {}).get("request", ())),
        passthrough_answer_headers=tuple(values.get("passthrough_headers", {}).get("answer", ())),
        timeouts=Timeouts(**values["timeouts"]),
        max_connections=values["max_connections"],
        warm_connections=values["warm_connections"],
        ca_file=tls.get("ca_file", values.get("ca_file")),
        cert_file=tls.get("cert_file"),
        key_file=tls.get("key_file"),
        proxy=values.get("proxy"),
        allow_addresses=tuple(values.get("allow_addresses", ())),
    )


def _aws(values: Values, base_url: str) -> Aws:
    token = values.get("session_token")
    return Aws(
        values.get("region") or _urls.aws_region(base_url),
        values["access_key_id"].reference,
        values["secret_access_key"].reference,
        token.reference if token else None,
    )


def _auth(values: Values) -> Auth:
    fields: Values = {name: _published(value) for name, value in values.items()}
    return Auth(**fields)


def _passages(chosen: bool | list[Values]) -> tuple[Passage, ...]:
    if isinstance(chosen, bool):
        return (Passage(),) if chosen else ()
    return tuple(Passage(each["path"], tuple(each["methods"])) for each in chosen)


def _answers_responses(values: Values) -> bool:
    chosen: str | None = values.get("responses")
    return chosen == "native" if chosen else urlsplit(values["base_url"]).hostname == "api.openai.com"


def _published(value: str | Secret) -> str:
    return value.reference if isinstance(value, Secret) else value


def _model(name: str, values: Values) -> Model:
    return Model(
        name=name,
        targets=tuple(map(_target, values["targets"])),
        fallbacks=tuple(values.get("fallbacks", ())),
        encoding=values["encoding"] if values["encoding"] != ESTIMATED else "o200k_base",
        estimated=values["encoding"] == ESTIMATED,
        max_output_tokens=values["max_output_tokens"],
        drop_params=tuple(values.get("drop_params", ())),
    )


def _target(values: Values) -> Target:
    price = values.get("price")
    capabilities = values.get("capabilities", {})
    return Target(
        values["provider"],
        values["model"],
        values["weight"],
        _price(price, values) if price else None,
        context_tokens=capabilities.get("context_tokens", 0),
        max_output_tokens=capabilities.get("max_output_tokens", 0),
        lacks=_lacks(capabilities),
    )


def _price(price: Values, target: Values) -> Price:
    given = {ours: price[theirs] for ours, theirs in _PRICES.items() if theirs in price}
    return Price(**given, source=target.get("price_source", "config"))


def _key(values: Values, hmac: str) -> Key:
    limits, budget = _governed(values)
    return Key(
        id=KEY_ID_PREFIX + values["name"],
        name=values["name"],
        hmac=hmac,
        team=values.get("team"),
        models=tuple(values["models"]),
        limits=limits,
        budget=budget,
        expires_at_s=values.get("expires"),
        passthrough=tuple(values.get("passthrough", ())),
    )


def _governed(values: Values) -> tuple[Limits, Budget | None]:
    budget = values.get("budget")
    return Limits(**values.get("limits", {})), Budget(budget["usd"], budget["per"]) if budget else None
