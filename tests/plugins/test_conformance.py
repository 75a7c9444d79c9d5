"""Everything that is registered passes the checks of its kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.errors import MissingDependency, UnknownName
from tilbench.loader import Host, load_plugins
from tilbench.registry import KINDS
from tilbench.testing import NotApplicable, conformance, toy_texts


def loaded() -> Host:
    """Return what is installed, or the plugin folders of this checkout where nothing is."""
    host = load_plugins()
    if host.plugins:
        return host
    folders = sorted((Path(__file__).parents[2] / "plugins").glob("tilbench_*/__init__.py"))
    names = [folder.parent.name for folder in folders]
    points = [EntryPoint(name.removeprefix("tilbench_"), name, "tilbench") for name in names]
    return load_plugins(entry_points=[(point, "tilbench") for point in points])


HOST = loaded()
REGISTERED = [(kind, name) for kind in KINDS for name in HOST.registry.kind(kind).names()]

_LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    # an architecture of many classes has no sizes of its own
    ("architectures", "huggingface"): {
        "config": {
            "model_type": "llama",
            "vocab_size": 61,
            "max_length": 24,
            "config": {**_LLAMA, "intermediate_size": 48},
        }
    },
    ("metrics", "classification"): {"settings": {"labels": {"even": "жұп", "odd": "тақ"}}},
    # documented: the morpheme mark is an instruction; white space is lost
}


def _saved_bpe(folder: Path) -> Mapping[str, Any]:
    HOST.registry.tokenizers.get("bpe").train(toy_texts(40), {"vocab_size": 400}).save(folder)
    (folder / "tokenizer_family.json").unlink()  # as Transformers would have written it
    return {"reference": str(folder)}


def _rank_file(folder: Path) -> Mapping[str, Any]:
    import base64

    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256)]
    (folder / "bytes.tiktoken").write_text("".join(lines), encoding="ascii")
    return {"reference": f"{folder / 'bytes.tiktoken'}#r50k_base"}


def _pieces(folder: Path) -> Mapping[str, Any]:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(toy_texts(40)),
        model_prefix=str(folder / "toy"),
        vocab_size=360,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        minloglevel=2,
    )
    return {"reference": str(folder / "toy.model"), "lossless": False}  # it has a sign of its own for space


def _shipped(folder: Path) -> Mapping[str, Any]:
    return {"reference": "mistral:tekken_240718"}


MADE: Mapping[tuple[str, str], Callable[[Path], Mapping[str, Any]]] = {
    ("tokenizers", "huggingface"): _saved_bpe,
    ("tokenizers", "tiktoken"): _rank_file,
    ("tokenizers", "sentencepiece"): _pieces,
    ("tokenizers", "mistral"): _shipped,
}
"""What a family loads that cannot be trained, made in an empty folder."""

NEED_A_MODEL = {("loaders", "huggingface")}
"""What opens models of others only: it is tested on a folder of its own, in its own tests."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_nothing_is_broken() -> None:
    assert not HOST.broken
    assert REGISTERED


@pytest.mark.parametrize(("kind", "name"), REGISTERED, ids=[f"{kind}-{name}" for kind, name in REGISTERED])
def test_conforms(kind: str, name: str, tmp_path: Path) -> None:
    if (kind, name) in NEED_A_MODEL:
        pytest.skip("it has nothing to open that is registered")
    try:
        settings = MADE[kind, name](tmp_path) if (kind, name) in MADE else SETTINGS.get((kind, name), {})
        outcomes = list(conformance(kind, name, HOST.registry, settings=settings).run())
    except (NotApplicable, MissingDependency, ModuleNotFoundError) as error:
        pytest.skip(str(error))
    failed = {each.check: each.reason for each in outcomes if each.status == "fail"}
    assert not failed
    if all(each.status == "n/a" for each in outcomes):
        pytest.skip(outcomes[0].reason)


def test_known_exceptions_are_of_things_that_exist() -> None:
    assert {*SETTINGS, *MADE, *NEED_A_MODEL} <= set(REGISTERED)


# The other door


def check(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["check", *arguments], standalone_mode=False)


def test_check_prints_marks_and_counts() -> None:
    result = check("bpb")
    assert result.return_value == 0
    assert result.output.startswith("✓ metric bpb\n  ✓ interface\n")
    assert result.output.endswith(" passed, 0 failed, 0 not applicable\n")


def test_check_fails_with_status_1() -> None:
    result = check("wordpiece", "--set", "lossless=true")
    assert result.return_value == 1
    assert "✗ lossless: " in result.output


def test_check_in_json() -> None:
    import json

    rows = json.loads(check("til", "--kind", "tokenizers", "--set", r'drops="\x1f"', "--json").output)
    assert {row["name"] for row in rows} == {"til"}
    assert set(rows[0]) == {"kind", "name", "check", "status", "reason"}
    assert all(row["status"] in ("pass", "n/a") for row in rows)


def test_check_refuses_what_it_cannot_tell() -> None:
    assert isinstance(check("llamma").exception, UnknownName)
    shared = [name for name, group in itertools.groupby(sorted(n for _, n in REGISTERED)) if len(list(group)) > 1]
    for name in shared[:1]:
        assert "choose one with --kind" in str(check(name).exception)
    assert "name one thing" in str(check().exception)
    assert "--set is for one thing" in str(check("--all", "--set", "a=1").exception)
    assert isinstance(check("bpb", "--kind", "metric").exception, UnknownName)


def test_check_all_of_a_kind() -> None:
    result = check("--all", "--kind", "metrics")
    assert result.return_value == 0, result.output
    subjects = [line for line in result.output.splitlines()[:-1] if not line.startswith(" ")]
    assert len(subjects) == len(HOST.registry.metrics.names())
