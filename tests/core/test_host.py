"""The plugin host: broken plugins are skipped and named, clashes and misspelled hooks are refused."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.errors import PluginError, UnknownName
from tilbench.loader import Host, load_plugins
from tilbench.registry import KINDS

HEAD = "from tilbench import hookimpl\n@hookimpl\n"
GOOD = HEAD + "def register_metrics(register):\n    register('good', object, summary='a metric')\n"


def plugin(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return str(path)


def load(*files: str) -> Host:
    return load_plugins(files, entry_points=[])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError"),
        ("def (:\n", "SyntaxError"),
        (
            HEAD + "def register_metrics(register):\n    register('x', object)\n    raise ValueError('half')\n",
            "ValueError: half",
        ),
    ],
)
def test_a_broken_plugin_is_named_and_the_rest_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    plugin(tmp_path, "broken_here", text)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("broken", "broken_here", "tilbench")
    host = load_plugins([plugin(tmp_path, "fine", GOOD)], entry_points=[(point, "somebody")])
    monkeypatch.delitem(sys.modules, "broken_here", raising=False)
    assert [(status.name, status.distribution) for status in host.broken] == [("broken", "somebody")]
    assert says in host.broken[0].error
    assert host.registry.metrics.names() == ["good"]


@pytest.mark.parametrize("text", ["import nowhere_at_all\n", "raise SystemExit(3)\n", None])
def test_a_plugin_file_that_was_asked_for_must_work(tmp_path: Path, text: str | None) -> None:
    path = str(tmp_path / "missing.py") if text is None else plugin(tmp_path, "broken", text)
    with pytest.raises(PluginError, match="cannot be imported"):
        load(path)


def test_a_file_named_twice_is_loaded_once(tmp_path: Path) -> None:
    path = plugin(tmp_path, "fine", GOOD)
    assert [status.name for status in load(path, path).plugins] == ["fine"]


def test_a_name_clash_names_both_plugins(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'good' is registered twice: by one .*/one.py:4 and by two .*/two.py:4; "):
        load(plugin(tmp_path, "one", GOOD), plugin(tmp_path, "two", GOOD))


def test_the_origin_is_the_line_of_the_hook_whatever_it_calls(tmp_path: Path) -> None:
    text = "def both(register):\n    for name in 'ab':\n        register(name, object)\n\n"
    text += HEAD + "def register_metrics(register):\n    'Two.'\n    both(register)\n"
    host = load(path := plugin(tmp_path, "helped", text))
    assert [str(host.registry.metrics.origin(name)) for name in "ab"] == [f"{path}:9"] * 2
    with pytest.raises(UnknownName):
        host.registry.metrics.origin("c")


def test_a_plugin_that_registers_after_its_hook_is_refused_with_the_place(tmp_path: Path) -> None:
    text = "kept = []\n" + HEAD + "def register_metrics(register):\n    kept.append(register)\n"
    path = plugin(tmp_path, "late", text)
    host = load(path)
    (module,) = host.manager.get_plugins()
    with pytest.raises(PluginError, match=r"metric 'x' of plugin late .* is registered too late, at .*/late.py:"):
        module.kept[0]("x", object)


def test_a_metric_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"metric 'good' .* is no tilbench.kinds.metric:MetricClass: got type"):
        load(plugin(tmp_path, "bare", GOOD)).registry.metrics.get("good")


def test_two_distributions_with_one_plugin_name_clash(tmp_path: Path) -> None:
    points = [(EntryPoint("same", "json", "tilbench"), dist) for dist in ("first", "second")]
    with pytest.raises(PluginError, match="'same': one from first and one from second"):
        load_plugins(entry_points=points)


def test_a_misspelled_hook_is_refused_with_the_near_name(tmp_path: Path) -> None:
    text = HEAD + "def register_metrcs(register):\n    pass\n"
    with pytest.raises(PluginError, match="did you mean register_metrics"):
        load(plugin(tmp_path, "typo", text))


def test_a_file_named_by_the_environment_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILBENCH_PLUGINS", plugin(tmp_path, "fine", GOOD))
    assert load().registry.metrics.names() == ["good"]


def test_an_unknown_name_says_what_is_near_and_what_exists(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown metric 'goood'; did you mean good\? Known: good; .*--plugin"):
        load(plugin(tmp_path, "fine", GOOD)).registry.metrics.get("goood")


def test_a_target_is_imported_on_first_use_only(tmp_path: Path) -> None:
    text = HEAD + "def register_metrics(register):\n    register('lazy', 'nowhere_at_all:Thing')\n"
    host = load(plugin(tmp_path, "lazy", text))
    assert not host.broken
    with pytest.raises(PluginError, match="metric 'lazy' of plugin lazy"):
        host.registry.metrics.get("lazy")


def test_an_object_of_another_kind_is_refused(tmp_path: Path) -> None:
    text = HEAD + "def register_trainers(register):\n    register('no', object())\n"
    with pytest.raises(PluginError, match=r"is no tilbench.kinds.trainer:Trainer: got object"):
        load(plugin(tmp_path, "wrong", text)).registry.trainers.get("no")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["plugins"], ["run", "--help"]])
def test_discovery_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom tilbench.__main__ import main\nsys.argv[1:] = sys.argv[1:]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'streamlit', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_registration_says_where_in_its_plugin_it_is(host: Host) -> None:
    modules = {status.name: status.module for status in host.plugins}
    for kind in KINDS:
        for entry in host.registry.kind(kind).entries():
            if entry.distribution == "tilbench":
                assert f"/plugins/{modules[entry.plugin]}/" in Path(entry.origin.file).as_posix(), entry
                assert Path(entry.origin.file).read_text(encoding="utf-8").splitlines()[entry.origin.line - 1], entry


def test_languages_are_listed_as_their_files_say(host: Host) -> None:
    for entry in host.registry.languages.entries():
        language = host.registry.languages.get(entry.name)
        assert (entry.name, entry.summary) == (language.tag, language.name)


COMMAND = """
import click
from tilbench import hookimpl

@hookimpl
def register_commands(register):
    @click.command()
    def greet():
        click.echo("hello")
    register("greet", greet, summary="Say hello.")
    register("broken", "nowhere_at_all:command", summary="Imported when it is called.")
"""


def test_a_plugin_adds_commands(tmp_path: Path) -> None:
    file = plugin(tmp_path, "greeter", COMMAND)
    runner = CliRunner()
    assert runner.invoke(cli, ["--plugin", file, "greet"]).output == "hello\n"
    helped = runner.invoke(cli, ["--plugin", file, "--help"]).output
    assert "Say hello." in helped
    assert "Imported when it is called." in helped
    done = runner.invoke(cli, ["--plugin", file, "broken"])
    assert isinstance(done.exception, PluginError)
    assert "command 'broken' cannot be imported from 'nowhere_at_all:command': ModuleNotFoundError" in str(
        done.exception
    )


@pytest.mark.parametrize("name", ["run", "score-translation"])
def test_a_command_has_one_meaning(tmp_path: Path, name: str) -> None:
    file = plugin(tmp_path, "taker", COMMAND.replace('"greet", greet', f'"{name}", greet'))
    done = CliRunner().invoke(cli, ["--plugin", file, "--help"])
    assert isinstance(done.exception, PluginError)
    assert f"plugin taker registers the command '{name}'" in str(done.exception)
