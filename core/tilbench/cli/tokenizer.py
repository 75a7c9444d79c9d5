"""`tilbench tokenizer train` and `tilbench tokenizer report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, console, data_option, json_option, names, print_json, set_option

if TYPE_CHECKING:
    from tilbench.registry import Registry

__all__ = ["tokenizer"]


@click.group()
def tokenizer() -> None:
    """Train a tokenizer, or compare several."""


@tokenizer.command()
@click.argument("family")
@click.option("--dataset", "datasets", required=True, metavar="A,B", help="Datasets of documents to learn from.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the tokenizer.")
@set_option
@data_option
@json_option
@click.pass_obj
def train(
    app: App, family: str, datasets: str, out: Path, overrides: Sequence[str], data_dir: Path | None, as_json: bool
) -> None:
    """Train a tokenizer of FAMILY (bpe, unigram, wordpiece, til …) and write it to a folder.

    \b
    Example:
      tilbench tokenizer train bpe --dataset text/kk/train --set vocab_size=2000 --out tokenizers/kk
    """
    from tilbench.config.yaml import apply_overrides
    from tilbench.errors import DataError, Unsupported
    from tilbench.paths import atomic_folder
    from tilbench.resolve.datasets import documents

    registry = app.host.registry
    made = registry.get("tokenizers", family)
    if not made.trainable:
        raise Unsupported(f"tokenizer family {family!r} is loaded, not trained")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not an empty folder; name another with --out")
    texts = [document.text for name in names(datasets) for document in documents(name, registry, data_dir)[1]]
    trained = made.train(texts, apply_overrides({}, overrides))
    with atomic_folder(out) as aside:
        trained.save(aside)
    summary = {"family": family, "size": trained.size, "fingerprint": trained.fingerprint, "out": str(out)}
    if as_json:
        print_json(summary)
    else:
        console().print(f"{family} tokenizer of {trained.size:,} ids in {out}")


@tokenizer.command()
@click.argument("tokenizers", nargs=-1, required=True)
@click.option("--dataset", "datasets", required=True, metavar="A,B", help="Datasets of documents, one per language.")
@click.option("--parallel", default="", metavar="A,B", help="Datasets of pairs, for parity of target with source.")
@click.option("--model", default="", help="Model spec: the share of its parameters that each vocabulary would take.")
@click.option("--limit", type=click.IntRange(min=1), help="Use a seeded sample of this many documents.")
@data_option
@json_option
@click.pass_obj
def report(
    app: App,
    tokenizers: Sequence[str],
    datasets: str,
    parallel: str,
    model: str,
    limit: int | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Compare TOKENIZERS (folders, .tiktoken or .model files, hf:org/name, mistral:NAME, bytes) on datasets.

    Special tokens, padding and truncation never count.

    \b
    Example:
      tilbench tokenizer report bytes mistral:v3 --dataset text/kk/heldout,text/tr/heldout
    """
    from tilbench.resolve.tokenizers import load_tokenizer

    registry = app.host.registry
    loaded = [(name, load_tokenizer(name, registry)) for name in tokenizers]
    shares = {name: _embedding_share(model, registry, each.size) if model else None for name, each in loaded}
    rows = _reports(registry, loaded, names(datasets), data_dir, limit)
    rows = [{**row, "embedding_share": shares[row["tokenizer"]]} for row in rows]
    ratios = _parities(registry, loaded, names(parallel), data_dir, limit)
    if as_json:
        print_json({"reports": rows, "parity": ratios} if ratios else rows)
        return
    _print(rows, ratios)


def _reports(
    registry: Registry,
    loaded: Sequence[tuple[str, Any]],
    datasets: Sequence[str],
    data_dir: Path | None,
    limit: int | None,
) -> list[dict[str, Any]]:
    from tilbench.evaluation.tokenizer_report import report_on
    from tilbench.resolve.datasets import documents

    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        used, texts = documents(dataset, registry, data_dir, limit=limit)
        for name, each in loaded:
            measured = report_on(each, [document.text for document in texts])
            about = {"tokenizer": name, "family": each.family, "dataset": dataset, "language": used.language}
            rows.append({**about, **asdict(measured), "rows_fingerprint": used.fingerprint})
    return rows


def _parities(
    registry: Registry,
    loaded: Sequence[tuple[str, Any]],
    datasets: Sequence[str],
    data_dir: Path | None,
    limit: int | None,
) -> list[dict[str, Any]]:
    from tilbench.data.rows import Pair
    from tilbench.errors import DataError
    from tilbench.evaluation.tokenizer_report import parity
    from tilbench.resolve.datasets import rows_of

    found: list[dict[str, Any]] = []
    for dataset in datasets:
        pairs = [row for row in rows_of(dataset, registry, data_dir, limit=limit).rows if isinstance(row, Pair)]
        if not pairs:
            raise DataError(f"dataset {dataset!r} holds no pairs; parity needs a text in two languages")
        for name, each in loaded:
            ratio = parity(each, [pair.target for pair in pairs], [pair.source for pair in pairs])
            found.append({"tokenizer": name, "dataset": dataset, "pairs": len(pairs), "target_over_source": ratio})
    return found


def _embedding_share(model: str, registry: Registry, size: int) -> float:
    """Return the share of a spec's parameters in its embedding, were its vocabulary of `size` entries."""
    from tilbench.config.references import parse_spec
    from tilbench.evaluation.tokenizer_report import embedding_share
    from tilbench.resolve.specs import load_spec

    spec = load_spec(parse_spec(model), registry)
    architecture = registry.get("architectures", spec.architecture.name)
    return embedding_share(architecture, architecture.Config(**{**spec.architecture.config, "vocab_size": size}))


def _print(rows: Sequence[dict[str, Any]], ratios: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    columns = {
        "tokenizer": "tokenizer",
        "dataset": "dataset",
        "tokens/word": "tokens_per_word",
        "UAX-29": "tokens_per_uax29_word",
        "bytes/token": "bytes_per_token",
        "chars/token": "characters_per_token",
        "unknown": "unknown_rate",
        "byte fallback": "byte_fallback_rate",
        "whole words": "words_kept_whole",
        "lost documents": "round_trip_failures",
        "vocabulary used": "vocabulary_used",
        "embedding share": "embedding_share",
    }
    shares = {"unknown", "byte fallback", "whole words", "vocabulary used", "embedding share"}
    shown = {title: field for title, field in columns.items() if any(row[field] is not None for row in rows)}
    table = Table(title="special tokens, padding and truncation never count", title_justify="left")
    for title in shown:
        table.add_column(title, justify="left" if title in ("tokenizer", "dataset") else "right")
    for row in rows:
        cells = {title: row[field] for title, field in shown.items()}
        table.add_row(*(_cell(value, share=title in shares) for title, value in cells.items()))
    console().print(table)
    for name, splits in {row["tokenizer"]: row["pre_tokenizer"] for row in rows}.items():
        console().print(f"{name} splits texts by: {splits}", markup=False, highlight=False)
    for ratio in ratios:
        console().print(
            f"parity of {ratio['tokenizer']} on {ratio['dataset']}: the target takes "
            f"{ratio['target_over_source']:.2f} × the tokens of the source ({ratio['pairs']:,} pairs)"
        )


def _cell(value: Any, *, share: bool) -> str:
    if isinstance(value, float):
        return f"{value:.2%}" if share else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
