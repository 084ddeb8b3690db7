"""The deployment's files, as far as a machine without a container engine can prove them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.control.config import Loaded, load

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGURATIONS = ["gateway.example.yaml", "gateway.compose.yaml"]
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-provider",
    "SEARCH_KEY": "search-key-of-a-test",
    "THROUGHWAY_ADMIN_TOKEN": "admin-token-of-a-test",
    "THROUGHWAY_REDIS_URL": "redis://:secret@redis:6379/0",
    "THROUGHWAY_PEPPER": "pepper-of-a-test-0123456789abcdef",
}


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def loaded(name: str) -> Loaded:
    return load(DEPLOY / name, ENVIRONMENT)


def drain_s(name: str) -> float:
    node = loaded(name).node
    return (node.lame_duck_ms + node.drain_grace_ms) / 1_000


# -- configurations


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_loads_and_holds_no_secret(name: str) -> None:
    snapshot = loaded(name).snapshot
    assert snapshot.models
    assert all(provider.api_key is None or provider.api_key.startswith("env:") for provider in snapshot.providers)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_check_accepts_a_configuration(name: str) -> None:
    command = [sys.executable, "-m", "gateway.cli", "check", str(DEPLOY / name)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_listens_on_loopback_alone() -> None:
    node = loaded("gateway.example.yaml").node
    assert node.admin is not None
    assert {node.listen.host, node.ops.host, node.admin.listen.host} == {"127.0.0.1"}


# -- Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"(?m)^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text()).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def final_stage() -> list[tuple[str, str]]:
    lines = instructions()
    return lines[max(i for i, (word, _) in enumerate(lines) if word == "FROM") :]


@pytest.mark.skipif(not tool("hadolint").exists(), reason="hadolint has no wheel for this platform")
def test_hadolint_accepts_the_dockerfile() -> None:
    run(tool("hadolint"), DEPLOY / "Dockerfile")


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    (user,) = [rest for word, rest in final_stage() if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_image_has_a_health_check_a_volume_and_a_polite_end() -> None:
    said = dict(final_stage())
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert said["VOLUME"] == str(loaded("gateway.compose.yaml").node.state_dir)
    assert f":{loaded('gateway.compose.yaml').node.ops.port}/readyz" in said["HEALTHCHECK"]


def test_the_image_takes_only_hashed_packages_and_no_secret() -> None:
    for word, rest in instructions():
        if word == "RUN" and "pip install" in rest:
            assert "--no-deps" in rest
            assert "--require-hashes" in rest or rest.startswith("pip install --no-build-isolation --no-deps .")
        assert word != "ADD"
        assert word not in {"ARG", "ENV"} or not re.search(r"(?i)token|secret|password|api_key", rest)


def test_every_file_that_the_dockerfile_copies_is_sent_to_the_engine() -> None:
    kept = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == kept
    assert all((DEPLOY.parent / name).exists() for name in kept)


# -- compose


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def test_compose_has_the_specified_form() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_compose_publishes_on_loopback_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_requires_every_secret(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service["environment"].items():
            if re.search(r"TOKEN|PASSWORD|PEPPER|API_KEY|_URL|AUTH", name):
                assert re.search(r"\$\{\w+:\?[^}]*\}", value), name


def test_compose_waits_for_health(services: dict[str, Any]) -> None:
    for name, how in services["gateway"]["depends_on"].items():
        assert how == {"condition": "service_healthy"}
        assert "healthcheck" in services[name]


def test_compose_gives_what_its_configuration_asks_for(services: dict[str, Any]) -> None:
    asked = set(re.findall(r"env:(\w+)", (DEPLOY / "gateway.compose.yaml").read_text()))
    assert asked == set(services["gateway"]["environment"])


def test_compose_hardens_the_gateway_and_lets_it_drain(services: dict[str, Any]) -> None:
    gateway = services["gateway"]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert float(gateway["stop_grace_period"].removesuffix("s")) > drain_s("gateway.compose.yaml")


# -- systemd


@pytest.fixture(scope="module")
def unit() -> RawConfigParser:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "throughway.service")
    return parser


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_accepts_the_unit(tmp_path: Path, unit: RawConfigParser) -> None:
    program = unit["Service"]["ExecStart"].split()[0]
    text = (DEPLOY / "throughway.service").read_text().replace(program, "/bin/true")  # it is not installed here
    (tmp_path / "throughway.service").write_text(text)
    assert "throughway.service:" not in run("systemd-analyze", "verify", "--man=no", tmp_path / "throughway.service")


def test_the_unit_lets_the_gateway_drain_and_open_its_files(unit: RawConfigParser) -> None:
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecReload"] == service["ExecStart"].replace(" serve ", " restart ")
    assert float(service["TimeoutStopSec"]) > drain_s("gateway.example.yaml")
    assert int(service["LimitNOFILE"]) >= 2 * loaded("gateway.example.yaml").node.bounds.connections + 64


def test_the_unit_lets_it_write_where_the_example_keeps_its_state(unit: RawConfigParser) -> None:
    assert Path("/var/lib") / unit["Service"]["StateDirectory"] == loaded("gateway.example.yaml").node.state_dir
