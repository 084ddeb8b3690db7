from __future__ import annotations

import re
import typing

import pytest
import yaml

from bench import servers
from bench.compare import command, peers
from bench.compare.install import Packages
from bench.compare.scenes import SCENES

EACH = pytest.mark.parametrize("peer", peers.PEERS.values(), ids=peers.PEERS)
FILLED = {"PORT", "OPS", "UPSTREAM", "KEY", "HOME", "HERE", "PYTHON", "PREFIX", "MODEL"}


def words(text: str) -> set[str]:
    return set(re.findall(r"@([A-Z]+)@", text))


@EACH
def test_a_row_asks_only_for_what_is_filled_in(peer: peers.Peer) -> None:
    texts = [*peer.command, *peer.environment.values(), *peer.headers.values(), peer.path, peer.model]
    if peer.template:
        texts.append((servers.CONF / peer.template).read_text())
    assert words(" ".join(texts)) <= FILLED


@EACH
def test_a_peer_listens_where_it_is_told_and_asks_the_upstream(peer: peers.Peer) -> None:
    if not peer.command:
        pytest.skip("direct has no process")
    text = " ".join([*peer.command, *peer.environment.values(), *peer.headers.values()])
    if peer.template:
        text += (servers.CONF / peer.template).read_text()
    assert {"PORT", "UPSTREAM"} <= words(text)


@EACH
def test_templates_are_of_their_format_once_filled(peer: peers.Peer) -> None:
    if not peer.config.endswith((".yaml", ".toml")):
        pytest.skip("its format has no reader here")
    values = dict.fromkeys(FILLED, "18000")
    text = servers.filled(peer.template, values)
    assert yaml.safe_load(text) if peer.config.endswith(".yaml") else typing.cast("dict[str, object]", _toml(text))


def _toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


@EACH
def test_what_is_fetched_is_pinned(peer: peers.Peer) -> None:
    packages = peer.packages or Packages("apt", ())
    pin = {"pip": r"[a-z-]+(\[[a-z]+\])?==[0-9.]+", "npm": r"@?[a-z/-]+@[0-9.]+"}.get(packages.manager)
    assert pin is None or all(re.fullmatch(pin, name) for name in packages.names)


@EACH
def test_features_and_scenarios_are_named(peer: peers.Peer) -> None:
    assert peer.features
    assert set(peer.scenarios) <= set(SCENES)
    assert "chat" in peer.scenarios


def test_the_command_line_knows_each_row_and_no_other() -> None:
    assert typing.get_args(command._Name) == tuple(peers.PEERS)
