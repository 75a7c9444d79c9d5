"""`tilbench new`: what it writes installs, registers and passes its checks as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from tilbench.cli import cli
from tilbench.cli.new import SCRIPTS, identifier, letters_of, placeholder_rows, read_tag
from tilbench.data.rows import Pair, parse_row
from tilbench.errors import ConfigError, DataError, Refused
from tilbench.kinds.language import Language
from tilbench.kinds.metric import TaskContext, Value
from tilbench.kinds.requests import Generated
from tilbench.loader import Host, load_plugins
from tilbench.testing import LanguageConformance, Outcome, conformance, toy_language
from tilbench.testing.language import scripts_of
from tilbench.text.language_classes import profile_text
from tilbench.text.language_id import identify, untold
from tilbench_metrics_generation.translation.metric import Translation, TranslationSettings


def new(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["new", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def install(folder: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Install `folder` from its absolute path, with no index to fall back on, and load what it registers."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(folder.resolve())], check=True, capture_output=True, text=True)
    monkeypatch.syspath_prepend(str(site))
    (info,) = site.glob("*.dist-info")
    distribution = PathDistribution(info)
    points = [(point, distribution.metadata["Name"]) for point in distribution.entry_points]
    assert {point.group for point, _ in points} == {"tilbench"}
    host = load_plugins(entry_points=points)
    assert not host.broken
    return host


def outcomes(kind: str, name: str, host: Host) -> list[Outcome]:
    found = list(conformance(kind, name, host.registry).run())
    assert not [each for each in found if each.status == "fail"], found
    return found


def translated(language: Language, texts: Sequence[str]) -> Mapping[str, Value]:
    """Return the values of texts as translations into a language."""
    made = Translation(TranslationSettings(), TaskContext(language))
    pairs = [Pair(str(number), "x", "?") for number in range(len(texts))]
    return made.aggregate(
        [made.score(pair, [Generated(text, 1, complete=True)]) for pair, text in zip(pairs, texts, strict=True)]
    )


def own_tests(folder: Path, site: Path) -> None:
    paths = [str(site), *sys.path]
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True, env={"PYTHONPATH": ":".join(paths)})


def test_a_language_installs_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, site = tmp_path / "mine", tmp_path / "site"
    output = new("language", "qab-Cyrl", "--name", "Zzyzx Tongue", "--out", str(folder))
    assert f"pip install -e '{folder.resolve()}[dev]'" in output
    assert "tilbench check qab-Cyrl" in output
    host = install(folder, site, monkeypatch)
    assert host.registry.languages.names() == ["qab-Cyrl"]
    assert "text/qab/train" in host.registry.datasets
    found = {each.check: each for each in outcomes("languages", "qab-Cyrl", host)}
    assert found["samples_are_not_placeholders"].status == "n/a"
    assert "33 rows are placeholders" in found["samples_are_not_placeholders"].reason
    for name in host.registry.datasets.names():
        outcomes("datasets", name, host)
    own_tests(folder, site)
    language = host.registry.languages.get("qab-Cyrl")
    assert found["profile"].status == "n/a"  # placeholders are no text to learn a language from
    assert "the least" in untold(language)
    kazakh = "Бұл сөйлем қазақ тілінде жазылған, оны бәрі түсінеді."
    assert identify(kazakh, [language]) is None
    assert "off_target_rate" not in translated(language, [kazakh] * 3)


def test_the_suite_of_a_new_language_runs_and_editors_know_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, site = tmp_path / "mine", tmp_path / "site"
    new("language", "qab-Cyrl", "--name", "Zzyzx Tongue", "--out", str(folder))
    install(folder, site, monkeypatch)
    for path in (folder / "suite.yaml", folder / "src" / "tilbench_zzyzx_tongue" / "language.yaml"):
        first, _, text = path.read_text(encoding="utf-8").partition("\n")
        schema = path.parent / first.removeprefix("# yaml-language-server: $schema=")
        validator = Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
        assert not list(validator.iter_errors(yaml.safe_load(text)))
        assert list(validator.iter_errors({**yaml.safe_load(text), "nme": "x"}))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "tilbench", "run", "suite.yaml", "--models", "uniform-bytes", "--dry-run"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for task in ("bpb", "tokens", "questions-letter", "questions-cloze"):
        assert task in done.stdout


def test_the_sample_text_of_a_new_language_is_its_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is Turkish with every letter another one: no library knows the language."""
    cipher = str.maketrans("abcçdefgğhıijklmnoöprsştuüvyz", "ojzkvıghxwequfbñpraćldśmiáytn")
    turkish = load_plugins().registry.languages.get("tr-Latn")
    rows = profile_text(turkish.profile).lower().translate(cipher).split("\n")
    folder, site = tmp_path / "mine", tmp_path / "site"
    alphabet = "abcdefghijklmnopqrstuvwxyzáćéíóúśñğıç"
    new("language", "qac-Latn", "--name", "Cipher", "--alphabet", alphabet, "--out", str(folder))
    text = folder / "src" / "tilbench_cipher" / "data" / "text" / "train.jsonl"
    text.write_text("".join(json.dumps({"id": f"t{place}", "text": row}) + "\n" for place, row in enumerate(rows)))
    host = install(folder, site, monkeypatch)
    language = host.registry.languages.get("qac-Latn")
    found = {each.check: each for each in outcomes("languages", "qac-Latn", host)}
    assert found["profile"].status == "pass", found["profile"]
    own = "Pazarda bugün çok insan vardı. Satıcılar meyve ve sebzeleri dizmişti.".lower().translate(cipher)
    assert identify(own, [language]) == "qac-Latn"
    assert identify("There were many people at the market today.", [language]) not in ("qac-Latn", None)
    english = ["There were many people at the market today, and it was warm."]
    with pytest.raises(Refused, match="another language than qac-Latn"):
        translated(language, english * 3)
    assert translated(language, [own] * 3)["off_target_rate"].value == 0


def test_a_metric_installs_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, site = tmp_path / "mine", tmp_path / "site"
    new("metric", "zzyzx-word", "--title", "Found next words", "--out", str(folder))
    host = install(folder, site, monkeypatch)
    outcomes("metrics", "zzyzx-word", host)
    own_tests(folder, site)


@pytest.mark.parametrize("arguments", [("language", "qab-Cyrl", "--name", "Zzyzx Path"), ("metric", "zzyzx-path")])
def test_an_editable_install_makes_the_package_importable_and_nothing_else(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    folder, wheels = tmp_path / "mine", tmp_path / "wheels"
    new(*arguments, "--out", str(folder))
    wheels.mkdir()
    build = "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=folder, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert [Path(name).suffix for name in names] == [".pth"]
        places = archive.read(names[0]).decode().split()
    importable = {each.name for place in places for each in Path(place).iterdir()}
    assert importable == {"tilbench_zzyzx_path"}


def test_names_of_files(tmp_path: Path) -> None:
    new("language", "qab-Latn", "--name", "Zzyzx Old", "--native-name", "Ténga: 1", "--out", str(tmp_path / "x"))
    written = {str(path.relative_to(tmp_path / "x")) for path in (tmp_path / "x").rglob("*") if path.is_file()}
    data = ("text/train", "text/heldout", "questions/dev", "questions/test", "probes", "prompts")
    assert written == {
        *("README.md", "pyproject.toml", "tests/test_language.py"),
        *("suite.yaml", "suite.schema.json", "language.schema.json"),
        *("src/tilbench_zzyzx_old/__init__.py", "src/tilbench_zzyzx_old/language.yaml"),
        *(f"src/tilbench_zzyzx_old/data/{name}.jsonl" for name in data),
    }
    language = yaml.safe_load((tmp_path / "x/src/tilbench_zzyzx_old/language.yaml").read_text(encoding="utf-8"))
    assert (language["name"], language["native_name"]) == ("Zzyzx Old", "Ténga: 1")
    assert not [path for path in tmp_path.iterdir() if path.name != "x"]


def test_a_second_script_does_not_take_the_samples_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load_plugins().registry  # those of this checkout: a developer may have installed others
    taken = [
        name
        for name in registry.languages.names()
        if f"text/{name.partition('-')[0]}/train" in registry.datasets
        and registry.languages.entry(name).distribution == "tilbench"
        and "-" in name
    ]
    if not taken:
        pytest.skip("no language is registered")
    subtag, script = taken[0].split("-")
    other = f"{subtag}-{'Grek' if script != 'Grek' else 'Latn'}"
    new("language", other, "--name", "Zzyzx Other", "--out", str(tmp_path / "other"))
    host = install(tmp_path / "other", tmp_path / "site", monkeypatch)
    assert f"text/{other}/train" in host.registry.datasets
    assert f"text/{subtag}/train" not in host.registry.datasets
    outcomes("languages", other, host)
    with pytest.raises(ConfigError, match="is registered by"):
        new("language", taken[0], "--name", "Again", "--out", str(tmp_path / "again"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("language", "ky-Xyrl", "--name", "A"), ConfigError, "no script 'Xyrl'; did you mean Cyrl"),
        (("language", "KY_cyrl", "--name", "A"), ConfigError, "such as ky-Cyrl"),
        (("language", "kyrgyz", "--name", "A"), ConfigError, "such as ba-Cyrl"),
        (("language", "zz-Cyrl", "--name", "A"), ConfigError, "no language 'zz'; write a code"),
        (("language", "kir-Cyrl", "--name", "A"), ConfigError, "such as ky-Cyrl"),
        (("language", "ba", "--name", "A"), ConfigError, "a language and its script, such as ba-Cyrl"),
        (("language", "ba-Cyrl-RU", "--name", "A"), ConfigError, "such as ba-Cyrl"),
        (("language", "ba Cyrl!", "--name", "A"), ConfigError, "such as ba-Cyrl"),
        (("language", "", "--name", "A"), ConfigError, "such as ba-Cyrl"),
        (("language", "qab-Cyrl", "--name", "A", "--alphabet", "abcdefgh"), ConfigError, "not in the script Cyrl"),
        (("language", "qab-Cyrl", "--name", "A", "--alphabet", "абв"), ConfigError, "six or more"),
        (("language", "qab-Runr", "--name", "A"), ConfigError, "script Runr: give the letters"),
        (("language", "qab-Ogam", "--name", "A"), ConfigError, "--alphabet"),
        (("language", "qab-Cyrl", "--name", 'A"\nB'), ConfigError, "one line without quotes"),
        (("metric", "Found Word"), ConfigError, "lower-case"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        new(*arguments, "--out", str(tmp_path / "x"))
    assert not list(tmp_path.iterdir())


def test_a_full_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="not empty"):
        new("language", "qab-Cyrl", "--name", "A", "--out", str(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    new("language", "qab-Cyrl", "--name", "A", "--out", str(tmp_path / "empty"))


def test_names_become_identifiers() -> None:
    assert identifier("Old Tongue-2", "x") == "old_tongue_2"
    assert identifier("Қазақ", "kk-Cyrl") == "kk_cyrl"
    assert identifier("7 of them", "ba-Cyrl") == "ba_cyrl"


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_script_gives_a_language_that_passes(script: str) -> None:
    assert scripts_of(script)
    assert read_tag(f"qab-{script}") == ("qab", script)
    letters = letters_of(script, "")
    rows: dict[str, Any] = {}
    for file, raw in placeholder_rows(letters):
        kind = {"text": "documents", "questions": "questions"}.get(file.split("/")[0], Path(file).stem)
        rows[Path(file).stem] = [parse_row(kind, json.loads(json.dumps(each)), file) for each in raw]
    toy = toy_language()
    cues = type(toy.cues)(passage=letters[:3], question=letters[1:4], options=letters[2:5], answer=letters[3:6])
    conforms = LanguageConformance()
    conforms.subject = type(toy)(
        tag=f"qab-{script}", name="A", native_name="A", script=script, alphabet=letters, cues=cues
    )
    conforms.datasets, conforms._rows = {}, rows
    assert not [each for each in conforms.run() if each.status == "fail"]
