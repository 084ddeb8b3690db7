"""gateway.yaml: read, validated whole, and compiled to the node's settings and its snapshot.

    load        once, at start or for a check
    FileSource  again and again, while serving
    effective   what takes effect, for `throughway check --print`
    known_targets  what is known of the models that it names, for `throughway models`
    outline     what manages a node must know of it, without its secrets
    state_dir_of  where the node keeps its state, of a file that may be broken
    fleet_settings   what is needed to ask Redis for the rest
    resolve     the secret behind `env:NAME` or `file:PATH`
    instant     what a date of the file means

A reading goes text -> tree with positions (`_yaml`) -> normal form, by the schema (`_schema`, a table of `_kinds`) ->
checks between values (`_check`) -> structs of `gateway.base` (`_compile`). Every mistake that can be found is found in
one reading. `python -m gateway.control.config.describe` writes docs/configuration.md and docs/gateway.schema.json from
the schema.
"""

from gateway.control.config._kinds import instant
from gateway.control.config._known import KnownTarget, known_targets
from gateway.control.config._source import (
    FileSource,
    FleetSettings,
    Loaded,
    Outline,
    effective,
    fleet_settings,
    load,
    outline,
    state_dir_of,
)
from gateway.control.config.secrets import SecretError, resolve

__all__ = [
    "FileSource",
    "FleetSettings",
    "KnownTarget",
    "Loaded",
    "Outline",
    "SecretError",
    "effective",
    "fleet_settings",
    "instant",
    "known_targets",
    "load",
    "outline",
    "resolve",
    "state_dir_of",
]
