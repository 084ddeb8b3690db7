"""The configuration: every mistake with its place, what a good file compiles to, and where secrets never appear.

Each file in config_cases/ is a configuration. Beside it, `.expected` has a line for each error and warning, as a user
reads them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base import snapshot as snapshots
from gateway.base.capabilities import BY_NAME
from gateway.base.errors import ConfigurationError, Problem
from gateway.base.node import Address, Cors, Http2, Node, Tls, TrustedProxies
from gateway.base.snapshot import NANO_USD, Auth, Aws, Budget, Limits, Price, Provider
from gateway.control.config import (
    FileSource,
    SecretError,
    _check,
    _compile,
    _yaml,
    describe,
    effective,
    load,
    outline,
    resolve,
)
from gateway.control.config._compatible import COMPATIBLE
from gateway.control.keys import KeyStore, key_hmac
from tests.support.certificates import Authority
from tests.support.token_server import TokenServer

CASES = Path(__file__).parent / "config_cases"
DOCS = Path(__file__).parents[3] / "docs"

CANARY = "canary0secret0never0shown"
PEPPER = "p" * 32
ENVIRON = {
    "OPENAI_API_KEY": f"sk-{CANARY}",
    "SEARCH_KEY": f"search-{CANARY}",
    "SEARCH_KEY_AGAIN": f"search-{CANARY}",
    "OTHER_KEY": f"other-{CANARY}",
    "SHORT_KEY": "canary",
    "EMPTY": " ",
    "TWO_WORDS": f"{CANARY} {CANARY}",
    "DATABASE_URL": f"postgresql://u:{CANARY}@db/throughway",
    "THROUGHWAY_ADMIN_TOKEN": f"admin-{CANARY}",
    "THROUGHWAY_REDIS_URL": f"redis://:{CANARY}@redis/0",
    "THROUGHWAY_DATABASE_URL": f"postgresql://u:{CANARY}@db/throughway",
    "PEPPER": PEPPER,
}

EXAMPLE = """\
listen: 127.0.0.1:8080
ops: 127.0.0.1:8082
admin: {listen: 127.0.0.1:8081, token: env:THROUGHWAY_ADMIN_TOKEN}
redis: env:THROUGHWAY_REDIS_URL           # optional
database: env:THROUGHWAY_DATABASE_URL     # optional; default SQLite in state_dir
state_dir: ./state
pepper: env:PEPPER
providers:
  openai: {kind: openai, base_url: https://api.openai.com/v1, api_key: env:OPENAI_API_KEY}
  local: {kind: openai, base_url: http://127.0.0.1:9000/v1/}
models:
  gpt-4o-mini:                            # the name that applications use
    targets:
      - {provider: openai, model: gpt-4o-mini, weight: 1}
    fallbacks: [other-model]
  other-model: {targets: [{provider: local}]}
teams:
  search: {limits: {requests_per_minute: 6000}, budget: {usd: 500, per: month}}
keys:
  - name: search-prod
    key: env:SEARCH_KEY
    team: search
    models: ["gpt-*"]
    limits: {requests_per_minute: 600, tokens_per_minute: 100000, concurrency: 50}
    budget: {usd: 10.000000001, per: day}
    expires: 2099-12-31
"""

TODAY = date(2026, 11, 24)


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers retire models, of which a reading warns."""
    monkeypatch.setattr(_compile, "_today", lambda: TODAY)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(EXAMPLE)
    return file


def findings(file: Path) -> list[str]:
    """Errors and warnings of a file, a line each, without the directory it lies in."""
    try:
        lines = [f"warning: {problem}" for problem in load(file, ENVIRON).warnings]
    except ConfigurationError as error:
        lines = [str(problem) for problem in error.problems]
    return [line.replace(f"{file.parent}/", "").replace(str(file.parent), "DIRECTORY") for line in lines]


# -- mistakes


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_each_mistake_is_reported_with_its_place(case: Path) -> None:
    expected = case.with_suffix(".expected").read_text().splitlines()
    assert findings(case) == expected


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_mistakes_come_in_the_order_of_the_file_and_hold_no_secret(case: Path) -> None:
    try:
        problems = load(case, ENVIRON).warnings
    except ConfigurationError as error:
        problems = error.problems
        assert all(problem.file == str(case) for problem in problems)
    places = [(problem.line, problem.column) for problem in problems]
    assert places == sorted(places)
    assert "canary" not in "\n".join(map(str, problems)).lower()


def test_a_missing_file_a_directory_and_bytes_that_are_no_text_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"listen: 8080 # caf\xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (_yaml.MAX_BYTES + 1))
    assert findings(tmp_path / "absent.yaml") == ["absent.yaml: there is no such file"]
    assert findings(tmp_path / "latin.yaml") == ["latin.yaml: is not UTF-8: byte 18 is wrong"]
    assert findings(tmp_path / "large.yaml") == ["large.yaml: is larger than 16,777,216 bytes"]
    assert "cannot be read: is a directory" in findings(tmp_path)[0]


def test_too_many_values_are_refused_where_the_bound_is_passed(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("keys:\n" + "- a\n" * _yaml.MAX_NODES)
    # the mapping, its key and the list stand before the items, the first of which is on line 2
    assert findings(tmp_path / "g.yaml") == [
        f"g.yaml:{_yaml.MAX_NODES - 1}:3: more than 200,000 values, aliases expanded"
    ]


# -- what a good file compiles to


def test_the_designs_example_compiles_to_its_node_and_snapshot(example: Path) -> None:
    loaded = load(example, ENVIRON)
    node, snapshot = loaded.node, loaded.snapshot
    assert (node.listen, node.ops) == (Address(port=8080), Address(port=8082))
    assert node.admin is not None and node.admin.token == ENVIRON["THROUGHWAY_ADMIN_TOKEN"]
    assert node.state_dir == example.parent / "state"
    assert (loaded.workers, loaded.pepper) == (None, PEPPER.encode())
    openai, local = snapshot.providers
    assert (openai.api_key, local.api_key, local.base_url) == ("env:OPENAI_API_KEY", None, "http://127.0.0.1:9000/v1")
    mini, other = snapshot.models
    assert mini.fallbacks == ("other-model",) and mini.encoding == "o200k_base"
    price = mini.targets[0].price
    assert price is not None and price.input > 0 and price.source == "genai-prices/openai/gpt-4o-mini"
    assert other.targets[0].price == Price(0, 0, source="local") and other.targets[0].model == "other-model"
    assert snapshot.teams[0].budget == Budget(500 * NANO_USD, "month")
    (key,) = snapshot.keys
    assert (key.id, key.name, key.team, key.models) == ("cfg-search-prod", "search-prod", "search", ("gpt-*",))
    assert key.hmac == key_hmac(PEPPER.encode(), ENVIRON["SEARCH_KEY"])
    assert key.limits == Limits(600, 100_000, 50)
    assert key.budget == Budget(10 * NANO_USD + 1, "day")
    assert key.expires_at_s == 4_102_444_800  # 2100-01-01T00:00:00Z: the day itself counts
    assert snapshots.decode(snapshots.encode(snapshot)) == snapshot


def test_an_empty_file_is_the_defaults_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("")
    loaded = load(tmp_path / "g.yaml", {})
    assert loaded.node.listen == Address(port=8080)
    assert [problem.message for problem in loaded.warnings] == ["defines no models: every request will be answered 404"]


LISTENERS = [
    ("8080", Address("127.0.0.1", 8080)),
    ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
    ("0.0.0.0:0", Address("0.0.0.0", 0)),
    ('"[::1]:8080"', Address("::1", 8080)),
    ("localhost:80", Address("localhost", 80)),
    ("unix:/run/t.sock", Address("", 0, "/run/t.sock")),
]


@pytest.mark.parametrize(("text", "address"), LISTENERS)
def test_listeners_are_read_without_quotes(tmp_path: Path, text: str, address: Address) -> None:
    (tmp_path / "g.yaml").write_text(f"listen: {text}\n")
    assert load(tmp_path / "g.yaml", {}).node.listen == address


def test_the_same_input_gives_the_same_version(example: Path) -> None:
    first = load(example, ENVIRON).snapshot
    assert load(example, dict(reversed(ENVIRON.items()))).snapshot == first
    example.write_text(EXAMPLE.replace("weight: 1", "weight: 2"))
    assert load(example, ENVIRON).snapshot.version != first.version


# -- what models take and do

CAPABILITIES = """\
providers:
  openai: {kind: openai, base_url: "https://api.openai.com/v1"}
  claude: {kind: anthropic, base_url: "https://api.anthropic.com/v1"}
  azure: {kind: azure, base_url: "https://mine.openai.azure.com/openai/v1"}
  own: {kind: openai, base_url: "https://llm.example/v1"}
models:
  gpt-4: {targets: [{provider: openai}]}
  override:
    targets:
      - {provider: openai, model: gpt-4}
      - {provider: openai, model: gpt-4, capabilities: {input: [text, image, pdf], structured_output: true}}
    capabilities: {context_tokens: 9000, input: [text], tools: false}
  several: {targets: [{provider: claude, model: claude-haiku-4-5}, {provider: openai, model: gpt-4.1}], max_output_tokens: 7}
  shortest: {targets: [{provider: claude, model: claude-haiku-4-5}, {provider: openai, model: gpt-4.1}, {provider: own}]}
  unknown: {targets: [{provider: own, model: gpt-4}], encoding: estimated}
  deployed: {targets: [{provider: azure, model: gpt-4}]}
"""


def test_what_models_take_and_do_is_compiled_of_what_is_known_and_what_is_said(tmp_path: Path) -> None:
    (file := tmp_path / "g.yaml").write_text(CAPABILITIES)
    models = {model.name: model for model in load(file, {}).snapshot.models}

    def target(name: str, at: int = 0) -> tuple[int, str]:
        found = models[name].targets[at]
        return found.context_tokens, " ".join(name for name, bit in BY_NAME.items() if found.lacks & bit)

    assert target("gpt-4") == (8_192, "image audio video pdf structured_output")
    assert target("override") == (9_000, "image audio video pdf tools structured_output")
    assert target("override", 1) == (9_000, "audio video tools")
    assert target("unknown") == target("deployed") == target("shortest", 2) == (0, "")
    assert models["gpt-4"].encoding == "cl100k_base" and models["unknown"].estimated
    answers = {name: [t.max_output_tokens for t in model.targets] for name, model in models.items()}
    assert answers["gpt-4"] == [8_192] and models["gpt-4"].max_output_tokens == 4_096
    assert set(answers["several"]) == {0} and models["several"].max_output_tokens == 7, "what is written is the bound"
    assert answers["shortest"] == [64_000, 32_768, 0]
    assert models["deployed"].encoding == "cl100k_base"


def test_what_models_take_and_do_is_shown_as_it_would_be_written(tmp_path: Path) -> None:
    (file := tmp_path / "g.yaml").write_text(CAPABILITIES)
    shown = effective(file, {})
    (again := tmp_path / "again.yaml").write_text(shown)

    def known(path: Path) -> list[tuple[int, int, int]]:
        models = load(path, {}).snapshot.models
        return [(t.context_tokens, t.max_output_tokens, t.lacks) for model in models for t in model.targets]

    assert known(again) == known(file) and effective(again, {}) == shown
    assert "structured_output: true" in shown and "tools: false" in shown


def test_a_target_of_which_nothing_is_known_adds_nothing_to_a_snapshot(tmp_path: Path) -> None:
    (file := tmp_path / "g.yaml").write_text(CAPABILITIES)
    (unknown,) = next(model for model in load(file, {}).snapshot.models if model.name == "unknown").targets
    assert set(msgspec.json.decode(msgspec.json.encode(unknown))) == {"provider", "model"}


# -- the network


NETWORK = """\
tls: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}
proxy_protocol: {from: [10.0.0.0/8, unix]}
trusted_proxies: {from: ["2001:DB8::/32"]}
cors: {origins: ["https://app.example"], headers: [authorization], max_age_s: 60}
providers:
  a: {kind: openai, base_url: "https://api.example/v1", tls: {ca_file: ca.pem, cert_file: server.pem, key_file: server.key}}
  b: {kind: openai, base_url: "https://api.example/v1", ca_file: ca.pem, allow_addresses: ["fd00:ec2::254"]}
models: {m: {targets: [{provider: a, price: {input_usd_per_million: 0, output_usd_per_million: 0}}]}}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    authority = Authority("Test CA")
    authority.issue("localhost").write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "g.yaml").write_text(NETWORK)
    return tmp_path / "g.yaml"


def test_settings_of_the_network_compile_and_are_shown(network: Path) -> None:
    loaded = load(network, {})
    node, (a, b), folder = loaded.node, loaded.snapshot.providers, network.parent
    cert, key, ca = (str(folder / name) for name in ("server.pem", "server.key", "ca.pem"))
    assert node.tls == Tls(cert, key, ca, "required")
    assert node.proxy_protocol == ("10.0.0.0/8", "unix")
    assert node.trusted_proxies == TrustedProxies(("2001:db8::/32",), "x-forwarded-for")
    assert node.cors == Cors(("https://app.example",), ("GET", "HEAD", "POST"), ("authorization",), 60)
    assert (a.ca_file, a.cert_file, a.key_file, a.allow_addresses) == (ca, cert, key, ())
    assert (b.ca_file, b.cert_file, b.allow_addresses) == (ca, None, ("fd00:ec2::254/128",))
    shown = effective(network, {})
    for line in (
        'proxy_protocol:\n  from: ["10.0.0.0/8", unix]\n',
        'trusted_proxies:\n  from: ["2001:db8::/32"]\n  header: x-forwarded-for\n',
        f"client_ca_file: {ca}",
        "allow_addresses: [fd00:ec2::254/128]",
        "max_age_s: 60",
        "methods: [GET, HEAD, POST]",
    ):
        assert line in shown, shown


def test_nothing_of_it_is_on_unless_it_is_asked_for(example: Path) -> None:
    node = load(example, ENVIRON).node
    assert (node.tls, node.proxy_protocol, node.trusted_proxies, node.cors) == (None, (), None, None)
    assert not any(name in effective(example, ENVIRON) for name in ("cors", "proxy", "tls", "allow_addresses"))


def test_certificates_that_cannot_be_used_are_mistakes_at_the_start_and_no_reason_to_refuse_a_change(
    network: Path, tmp_path: Path
) -> None:
    source = FileSource(network, {})
    source.load()
    _, other = Authority("Other").issue("localhost").write(tmp_path, "other")
    Path(other).replace(tmp_path / "server.key")
    (tmp_path / "ca.pem").write_text("none")
    pair = "server.pem and server.key cannot be used: the key does not belong to the certificate"
    assert findings(network) == [
        f"g.yaml:1:18: tls.cert_file: {pair}",
        "g.yaml:1:68: tls.client_ca_file: ca.pem cannot be used: the file holds no PEM certificate",
        "g.yaml:6:72: providers.a.tls.ca_file: ca.pem cannot be used: the file holds no PEM certificate",
        f"g.yaml:6:91: providers.a.tls.cert_file: {pair}",
        "g.yaml:7:66: providers.b.ca_file: ca.pem cannot be used: the file holds no PEM certificate",
    ]
    network.write_text(NETWORK.replace("max_age_s: 60", "max_age_s: 61"))
    assert source.load().version == source.load().version
    assert any("cors" in warning for warning in source.warnings)


# -- secrets


def test_secrets_appear_in_no_output(example: Path) -> None:
    loaded = load(example, ENVIRON)
    shown = effective(example, ENVIRON)
    outputs = [snapshots.encode(loaded.snapshot).decode(), repr(loaded), repr(loaded.node), shown, str(loaded.warnings)]
    for output in outputs:
        assert CANARY not in output and PEPPER not in output
    assert "key: env:SEARCH_KEY" in shown and "api_key: env:OPENAI_API_KEY" in shown


def test_an_outline_needs_no_secret_and_shows_every_other_mistake(example: Path) -> None:
    whole, found = load(example, ENVIRON), outline(example, {})
    assert found.node == msgspec.structs.replace(whole.node, admin=found.node.admin, redis=None)
    assert [msgspec.structs.replace(key, hmac="") for key in whole.snapshot.keys] == list(found.keys)
    assert found.teams == tuple(team.name for team in whole.snapshot.teams)
    assert found.pepper is None
    example.write_text(example.read_text().replace("openai: {kind: openai", "openai: {kind: opena") + "api_key: sk-1\n")
    with pytest.raises(ConfigurationError) as mistakes:
        outline(example, {})
    assert [problem.key for problem in mistakes.value.problems] == ["providers.openai.kind", "api_key"]


def test_a_reference_that_is_none_is_a_mistake_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("providers: {p: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key: sk-1}}\n")
    with pytest.raises(ConfigurationError, match="write env:NAME or file:PATH"):
        outline(file, {})


def test_a_header_by_reference_is_published_as_the_reference(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "providers:\n"
        "  p:\n"
        "    kind: openai\n"
        "    base_url: https://h.example/v1\n"
        "    headers: {x-api-key: env:OPENAI_API_KEY, x-file: file:secret.txt, x-plain: as it stands}\n"
    )
    (tmp_path / "secret.txt").write_text(f"{CANARY}\n")
    loaded = load(file, ENVIRON)
    (provider,) = loaded.snapshot.providers
    expected = (
        ("x-api-key", "env:OPENAI_API_KEY"),
        ("x-file", f"file:{tmp_path / 'secret.txt'}"),
        ("x-plain", "as it stands"),
    )
    assert provider.headers == expected
    assert provider.references() == [value for _, value in expected[:2]]
    for output in (snapshots.encode(loaded.snapshot).decode(), effective(file, ENVIRON)):
        assert CANARY not in output and "env:OPENAI_API_KEY" in output


def test_who_asks_amazon_is_published_as_references_and_the_region_is_that_of_the_host(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    shown = "access_key_id: env:OPENAI_API_KEY, secret_access_key: file:secret.txt"
    file.write_text(
        "providers:\n"
        f"  one: {{kind: bedrock, base_url: 'https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com', aws: {{{shown}}}}}\n"
        f"  two: {{kind: bedrock, base_url: 'https://h.example', aws: {{region: r-1, {shown}, session_token: env:SEARCH_KEY}}}}\n"
    )
    (tmp_path / "secret.txt").write_text(f"{CANARY}\n")
    loaded = load(file, ENVIRON)
    one, two = loaded.snapshot.providers
    secret = f"file:{tmp_path / 'secret.txt'}"
    assert one.aws == Aws("us-gov-west-1", "env:OPENAI_API_KEY", secret)
    assert two.aws == Aws("r-1", "env:OPENAI_API_KEY", secret, "env:SEARCH_KEY")
    assert two.references() == ["env:OPENAI_API_KEY", secret, "env:SEARCH_KEY"]
    for output in (snapshots.encode(loaded.snapshot).decode(), effective(file, ENVIRON)):
        assert CANARY not in output and "env:OPENAI_API_KEY" in output


def test_what_is_effective_is_itself_a_configuration_with_the_same_snapshot(example: Path, tmp_path: Path) -> None:
    shown = effective(example, ENVIRON)
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert effective(again, ENVIRON) == shown
    assert load(again, ENVIRON).node == load(example, ENVIRON).node


def test_a_servers_url_with_a_password_is_masked(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("redis: env:THROUGHWAY_REDIS_URL\n")
    assert CANARY not in effective(tmp_path / "g.yaml", ENVIRON)
    (tmp_path / "g.yaml").write_text("redis: redis://h/0\n")
    assert 'redis: "***"\n' in effective(tmp_path / "g.yaml", {})


def test_a_secret_of_a_file_is_stripped_and_its_reference_absolute(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text("file-secret-of-a-provider\n")
    (tmp_path / "g.yaml").write_text(
        "providers:\n  p: {kind: openai, base_url: http://localhost/v1, api_key: file:key.txt}\n"
    )
    (provider,) = load(tmp_path / "g.yaml", {}).snapshot.providers
    assert provider.api_key == f"file:{tmp_path}/key.txt"
    assert resolve(provider.api_key, {}) == "file-secret-of-a-provider"
    with pytest.raises(SecretError, match="env:NAME or file:PATH"):
        resolve("literal", {})


# -- the pepper


def test_a_check_writes_nothing_and_serving_makes_the_pepper_once(example: Path) -> None:
    example.write_text(EXAMPLE.replace("pepper: env:PEPPER\n", ""))
    checked = load(example, ENVIRON)
    assert checked.pepper is None and not (example.parent / "state").exists()
    served = load(example, ENVIRON, create=True)
    file = served.node.pepper_file
    assert served.pepper == file.read_bytes().strip() and len(served.pepper) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["pepper", "run"]
    again = load(example, ENVIRON)
    assert (again.pepper, again.snapshot) == (served.pepper, served.snapshot)


def test_a_pepper_that_was_cut_is_a_problem(example: Path) -> None:
    example.write_text(EXAMPLE.replace("pepper: env:PEPPER\n", ""))
    (example.parent / "state").mkdir()
    (example.parent / "state" / "pepper").write_text("short")
    with pytest.raises(ConfigurationError, match="holds no pepper"):
        load(example, ENVIRON, create=True)


# -- the store of keys


def test_live_keys_of_the_store_join_the_snapshot(example: Path) -> None:
    store = KeyStore(load(example, ENVIRON).node.keys_file)
    kept, _ = store.create("stored", pepper=PEPPER.encode(), team="search")
    store.create("gone", pepper=PEPPER.encode())
    store.revoke("gone")
    assert load(example, ENVIRON).snapshot.keys[1:] == (kept.key,)


def test_keys_of_file_and_store_collide_in_name_and_team(example: Path) -> None:
    store = KeyStore(load(example, ENVIRON).node.keys_file)
    store.create("search-prod", pepper=PEPPER.encode(), team="gone", models=("none-*",))
    lines = findings(example)
    assert (
        lines[0]
        == 'state/keys.json: search-prod: no team is named "gone"; define it, or `throughway keys revoke search-prod`'
    )
    assert lines[1].startswith("gateway.yaml:20:11: keys[0].name: a key of state/keys.json is named")


def test_a_stored_keys_secret_in_the_file_is_a_problem(example: Path) -> None:
    store = KeyStore(load(example, ENVIRON).node.keys_file)
    _, secret = store.create("stored", pepper=PEPPER.encode())
    with pytest.raises(
        ConfigurationError, match=r'keys\[0\]\.key: has the same secret as the stored key "stored"'
    ) as caught:
        load(example, ENVIRON | {"SEARCH_KEY": secret})
    assert secret not in str(caught.value)


def test_another_pepper_than_the_stores_is_a_problem(example: Path) -> None:
    store = KeyStore(load(example, ENVIRON).node.keys_file)
    store.create("stored", pepper=b"another")
    with pytest.raises(ConfigurationError, match="made under another pepper"):
        load(example, ENVIRON)


# -- the source


def test_the_source_sees_what_it_read_change_and_nothing_else(example: Path) -> None:
    source = FileSource(example, ENVIRON)
    assert source.changed()
    first = source.load()
    assert not source.changed()
    (example.parent / "unrelated").write_text("")
    assert not source.changed()
    replacement = example.with_suffix(".new")
    replacement.write_text(EXAMPLE.replace("weight: 1", "weight: 2"))
    replacement.replace(example)  # as editors do
    assert source.changed()
    assert source.load() != first and not source.changed()
    KeyStore(load(example, ENVIRON).node.keys_file).create("new", pepper=PEPPER.encode())
    assert source.changed()
    assert [key.name for key in source.load().keys] == ["search-prod", "new"]


def test_a_broken_file_is_tried_once_and_the_last_good_one_stays(example: Path) -> None:
    source = FileSource(example, ENVIRON)
    source.load()
    good = source.loaded
    example.unlink()
    assert source.changed()
    with pytest.raises(ConfigurationError):
        source.load()
    assert source.loaded is good and not source.changed()
    example.write_text(EXAMPLE)
    assert source.changed() and source.load() == good.snapshot if good else False


@pytest.mark.parametrize("again", [False, True])
def test_beside_a_broken_file_the_last_good_one_has_the_keys_as_they_are_now(example: Path, again: bool) -> None:
    node = load(example, ENVIRON).node
    store = KeyStore(node.keys_file)
    for name in ("stays", "goes"):
        store.create(name, pepper=PEPPER.encode())
    source = FileSource(example, ENVIRON)
    good = source.load()
    if again:  # as in an agent that was started anew meanwhile
        node.snapshot_file.write_bytes(snapshots.encode(good))
        source = FileSource(example, ENVIRON, serving=node)
    example.write_text("models: {a: [\n")
    with pytest.raises(ConfigurationError):
        source.load()
    assert source.last_good() == good, "nothing has happened to the keys"
    store.revoke("goes")
    store.create("comes", pepper=PEPPER.encode())
    store.create("of-no-team-here", pepper=PEPPER.encode(), team="unknown")
    store.create("search-prod", pepper=PEPPER.encode())
    assert source.changed()
    with pytest.raises(ConfigurationError):
        source.load()
    found = source.last_good()
    assert found is not None
    assert [key.name for key in found.keys] == ["search-prod", "stays", "comes"]
    assert found.keys[0] == good.keys[0], "the file's own"
    assert (found.models, found.providers, found.teams) == (good.models, good.providers, good.teams)
    node.keys_file.write_text("no store")
    with pytest.raises(ConfigurationError):
        source.load()
    assert source.last_good() is None


def test_an_empty_file_takes_nothing_away_while_another_serves(example: Path) -> None:
    source = FileSource(example, ENVIRON)
    good = source.load()
    example.write_text(" \n")
    for each in (source, FileSource(example, ENVIRON, serving=Node())):
        with pytest.raises(ConfigurationError, match="is empty, as while it is being written"):
            each.load()
    assert source.loaded is not None and source.loaded.snapshot == good
    example.write_text("{}\n")
    assert source.load().models == ()
    assert FileSource(example, ENVIRON).load().models == ()


def test_a_secret_file_is_watched(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("a-secret-of-a-key-1")
    (tmp_path / "g.yaml").write_text("keys:\n  - {name: a, key: file:k}\n")
    source = FileSource(tmp_path / "g.yaml", {})
    before = source.load()
    (tmp_path / "k").write_text("another-secret-of-a-key")
    assert source.changed() and source.load().keys != before.keys


def test_settings_of_the_node_that_change_wait_for_the_next_start(example: Path) -> None:
    source = FileSource(example, ENVIRON)
    source.load()
    example.write_text(EXAMPLE.replace("127.0.0.1:8080", "127.0.0.1:9999") + "workers: 3\n")
    source.load()
    assert source.loaded is not None and source.loaded.node.listen == Address(port=8080)
    restart = [problem.key for problem in source.loaded.warnings if "next restart" in problem.message]
    assert restart == ["listen", "workers"]


# -- any text at all

LINES = EXAMPLE.splitlines(keepends=True)
NOISE = st.sampled_from(
    [*"{}[]:,-*&!|>'\"#%@`\t\n \\?~0é\x00\ud7ff", "<<", "- ", ": ", "null", "1e9", "env:", "&a", "*a"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = EXAMPLE
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 12))
        text = text[:at] + draw(NOISE | st.just("") | st.sampled_from(LINES)) + text[at + cut :]
    return text


@settings(max_examples=300, deadline=None)
@given(text=mutated())
def test_a_mutated_file_loads_or_raises_configuration_error(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "mutated.yaml"
    file.write_text(text)
    try:
        loaded = load(file, ENVIRON)
    except ConfigurationError as error:
        assert error.problems
        assert CANARY not in str(error)
    else:
        assert load(file, ENVIRON).snapshot == loaded.snapshot
        assert CANARY not in effective(file, ENVIRON)


# -- kinds of providers that are data


def served(directory: Path, provider: str) -> Provider:
    file = directory / "gateway.yaml"
    file.write_text(f"providers: {{p: {provider}}}\nmodels: {{m: {{targets: [{{provider: p, model: x}}]}}}}\n")
    return load(file, ENVIRON).snapshot.providers[0]


@pytest.mark.parametrize("kind", COMPATIBLE)
def test_a_kind_that_is_data_is_what_its_row_says_and_documented(tmp_path: Path, kind: str) -> None:
    row = dict(COMPATIBLE[kind])
    url = row.get("base_url", "http://127.0.0.1:3000/v1")
    named = served(tmp_path, json.dumps({"kind": kind, "base_url": url}))
    assert named.kind == "openai" and f"| `{kind}` | " in (DOCS / "dialects.md").read_text()
    assert named == served(tmp_path, json.dumps({"kind": "openai", "base_url": url, **row})), (
        "as if it were written out"
    )
    if "base_url" in row:
        assert named == served(tmp_path, json.dumps({"kind": kind}))


def test_what_is_written_wins_over_the_row(tmp_path: Path) -> None:
    provider = served(tmp_path, "{kind: mistral, base_url: https://eu.example.com/v1, unsupported_params: [store]}")
    assert provider.base_url == "https://eu.example.com/v1" and provider.unsupported_params == ("store",)
    assert provider.max_tokens_field == "max_tokens" and provider.renamed_params == (("seed", "random_seed"),)


# -- documentation and start-up


def test_the_documentation_is_generated_from_the_schema() -> None:
    assert (DOCS / "configuration.md").read_text() == describe.markdown()
    assert (DOCS / "gateway.schema.json").read_text() == describe.json_schema()


def test_every_option_is_described() -> None:
    text = describe.markdown()
    options = list(describe.options())
    assert "providers.NAME.timeouts.gap_ms" in options and "keys[].budget.per" in options
    assert all(f"| `{option.rpartition('.')[2].removesuffix('[]')}` |" in text for option in options)


def test_reading_a_file_without_public_prices_does_not_import_them() -> None:
    code = "import sys, gateway.control.config; sys.exit('genai_prices' in sys.modules or 'difflib' in sys.modules)"
    source = str(Path(__file__).parents[3] / "src")
    assert (
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False).returncode
        == 0
    )


def test_problems_are_values_that_a_console_can_show() -> None:
    problem = Problem("g.yaml", 1, 2, "a.b", "is wrong")
    assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem


def test_the_second_listener_is_there_only_where_it_is_asked_for(example: Path) -> None:
    assert load(example, ENVIRON).node.http2 is None
    cert, key = Authority("Test CA").issue("localhost").write(example.parent)
    files = f"cert_file: {cert}, key_file: {key}"
    for more, compiled in (
        ("", ()),
        (f", tls: {{{files}}}", (Tls(cert, key),)),
        (f", tls: {{{files}, client_ca_file: {cert}, client_auth: optional}}", (Tls(cert, key, cert, "optional"),)),
        (", proxy_protocol: {from: [10.0.0.0/8, unix]}", (None, ("10.0.0.0/8", "unix"))),
    ):
        example.write_text(f"{EXAMPLE}http2: {{listen: 0.0.0.0:8443{more}}}\n")
        node = load(example, ENVIRON).node
        assert node.http2 == Http2(Address("0.0.0.0", 8443), *compiled)
        assert (node.tls, node.proxy_protocol) == (None, ()), "each listener by itself"


def test_a_bad_certificate_of_the_second_listener_is_a_mistake(example: Path) -> None:
    (example.parent / "c.pem").write_text("")
    example.write_text(f"{EXAMPLE}http2: {{listen: 0.0.0.0:8443, tls: {{cert_file: c.pem, key_file: c.pem}}}}\n")
    with pytest.raises(ConfigurationError, match=r"http2\.tls\.cert_file: .* cannot be used"):
        load(example, ENVIRON)


def test_a_provider_with_auth_compiles_without_its_secrets(tmp_path: Path) -> None:
    with TokenServer() as issuer:
        issuer.write_key(tmp_path / "key.json")
        private = issuer.private_parts()
    (tmp_path / "g.yaml").write_text(
        """\
providers:
  vertex: {kind: vertex, base_url: https://v.example/v1, auth: {kind: google_service_account, key_file: key.json}}
  azure:
    kind: azure
    base_url: https://a.example/openai/v1
    auth:
      {kind: entra_client_secret, tenant_id: t, client_id: c, client_secret: env:OTHER_KEY, endpoint: "https://login.example/"}
  pod: {kind: azure, base_url: https://a.example/openai/v1, auth: {kind: entra_workload_identity, token_file: pod, scope: s}}
models:
  m: {targets: [{provider: vertex, price: {input_usd_per_million: 1, output_usd_per_million: 1}}]}
"""
    )
    loaded = load(tmp_path / "g.yaml", ENVIRON)
    assert not loaded.warnings
    vertex, azure, pod = loaded.snapshot.providers
    assert vertex.auth == Auth("google_service_account", key_file=str(tmp_path / "key.json"))
    assert azure.auth == Auth(
        "entra_client_secret", "https://login.example", tenant_id="t", client_id="c", client_secret="env:OTHER_KEY"
    )
    assert pod.auth == Auth("entra_workload_identity", scope="s", token_file=str(tmp_path / "pod"))
    assert [provider.references() for provider in loaded.snapshot.providers] == [[], ["env:OTHER_KEY"], []]
    encoded = snapshots.encode(loaded.snapshot)
    assert snapshots.decode(encoded) == loaded.snapshot
    shown = encoded.decode() + effective(tmp_path / "g.yaml", ENVIRON)
    assert CANARY not in shown and not [line for line in private if line in shown]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "authorized_user"}, 'has no `"type": "service_account"`'),
        ({"client_email": None}, "Expected `str`, got `null` - at `$.client_email`"),
        ({"private_key": "canary"}, "its `private_key` is no private key in PEM"),
        ({"token_uri": "http://oauth2.example/token"}, "its `token_uri` http:// would send the secret in clear"),
        ({"token_uri": "https://user:canary@oauth2.example/token"}, "its `token_uri` is no URL of a token endpoint"),
    ],
)
def test_a_key_file_that_is_none_is_a_mistake(fields: dict[str, object], message: str, tmp_path: Path) -> None:
    with TokenServer() as issuer:
        issuer.write_key(tmp_path / "key.json", **fields)
    auth = "{kind: google_service_account, key_file: key.json}"
    (tmp_path / "g.yaml").write_text(
        f"providers:\n  v: {{kind: vertex, base_url: https://v.example/v1, auth: {auth}}}\n"
    )
    (found,) = findings(tmp_path / "g.yaml")
    assert message in found and "canary" not in found


def test_at_most_so_many_providers_have_tokens(tmp_path: Path) -> None:
    auth = "{kind: azure, base_url: https://a.example/v1, auth: {kind: entra_managed_identity}}"
    lines = [f"  p{i}: {auth}" for i in range(_check.MAX_TOKEN_PROVIDERS + 1)]
    (tmp_path / "g.yaml").write_text("\n".join(["providers:", *lines, ""]))
    (found,) = findings(tmp_path / "g.yaml")
    assert found.endswith("providers.p64.auth: is one too many: at most 64 providers may have `auth`")
