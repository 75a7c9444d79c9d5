"""What holds of everything registered, whatever its kind."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tilbench.config.model import ModelSpec
from tilbench.config.references import parse_spec
from tilbench.errors import PluginError, Unsupported
from tilbench.loader import load_plugins
from tilbench.registry import KINDS, Entry, Kind, Names, Origin
from tilbench.resolve.specs import load_spec

HOST = load_plugins()
PLUGINS = Path(__file__).parents[2] / "plugins"
EVERYTHING = [(kind, name) for kind in KINDS for name in HOST.registry.kind(kind).names()]


def test_there_is_something_of_nearly_every_kind() -> None:
    assert {kind for kind, _ in EVERYTHING} >= KINDS.keys() - {"suites"}  # the shipped suites are files


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_it_is_an_instance_of_its_protocol(kind: str, name: str) -> None:
    module, _, attribute = KINDS[kind].protocol.partition(":")
    names = HOST.registry.kind(kind)
    try:
        found = names.get(name)
    except Unsupported:
        assert kind == "hardware"  # a profile of a machine that is not this one
        return
    assert isinstance(found, getattr(importlib.import_module(module), attribute))
    assert names.get(name) is found


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_its_origin_is_the_line_that_registers_it(kind: str, name: str) -> None:
    names = HOST.registry.kind(kind)
    origin, entry = names.origin(name), names.entry(name)
    path = Path(origin.file)
    assert path.is_relative_to(PLUGINS)
    lines = path.read_text(encoding="utf-8").splitlines()
    if origin.line == 1:  # a hook that the core makes; no line of the plugin runs
        assert any("= language_plugin(__name__, " in line for line in lines)
    else:
        assert "register" in lines[origin.line - 1]
    assert entry.origin == origin


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_added_after_loading(kind: str) -> None:
    names = HOST.registry.kind(kind)
    with pytest.raises(
        PluginError, match=rf"'late' of plugin here .* registered too late, at me.py:3; .* register_{kind}"
    ):
        names.add(Entry("late", object(), "", "here", "here", Origin("me.py", 3)))
    assert "late" not in names


def test_every_kind_has_an_attribute_of_its_name() -> None:
    found = {kind: names for kind, names in vars(HOST.registry).items() if isinstance(names, Names)}
    assert found.keys() == KINDS.keys()
    assert all(names.kind is KINDS[kind] for kind, names in found.items())


@pytest.mark.parametrize("name", HOST.registry.models.names())
def test_a_spec_by_name_is_the_one_without_a_variant(name: str) -> None:
    spec = HOST.registry.models.get(name)
    assert isinstance(spec, ModelSpec)
    assert spec == load_spec(parse_spec(name), HOST.registry)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_kind_names_what_can_be_imported(kind: Kind) -> None:
    for path in filter(None, (kind.protocol, kind.reader)):
        module, _, attribute = path.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
