"""`tilbench tokenizer train` and `tilbench tokenizer report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tilbench.cli.app import App, console, data_option, json_option, names, print_json, set_option

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
    from tilbench.training.tokenizer import train_tokenizer

    options = apply_overrides({}, overrides)
    trained = train_tokenizer(family, names(datasets), out, app.host.registry, options=options, data_dir=data_dir)
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
    from tilbench.evaluation.tokenizer_report import compare_tokenizers

    rows, ratios = compare_tokenizers(
        tokenizers,
        names(datasets),
        app.host.registry,
        parallel=names(parallel),
        model=model,
        data_dir=data_dir,
        limit=limit,
    )
    if as_json:
        print_json({"reports": rows, "parity": ratios} if ratios else rows)
        return
    _print(rows, ratios)


def _print(rows: Sequence[dict[str, object]], ratios: Sequence[dict[str, object]]) -> None:
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


def _cell(value: object, *, share: bool) -> str:
    if isinstance(value, float):
        return f"{value:.2%}" if share else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
