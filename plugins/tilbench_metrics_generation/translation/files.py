"""Hypotheses that are in a file already, scored under the same definitions and refusals as a model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tilbench.errors import DataError
from tilbench.kinds.language import Language
from tilbench.kinds.metric import ItemScore, Value
from tilbench_metrics_generation.translation.corpus import corpus_values, scorers
from tilbench_metrics_generation.translation.refusals import Limits, Traps

__all__ = ["score_files"]


def score_files(
    hypotheses: Path,
    references: Sequence[Path],
    language: Language,
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    ter: bool = False,
    limits: Limits | None = None,
) -> tuple[Mapping[str, Value], Sequence[str]]:
    """Return the corpus scores of a file of hypotheses, one a line, and the signatures of sacreBLEU.

    references: one file or more, each with as many lines.
    Raises DataError for files that do not fit together, Refused where the hypotheses cannot be translations.
    """
    hypothesis_lines = _lines(hypotheses)
    streams = [_lines(path) for path in references]
    for path, lines in zip(references, streams, strict=True):
        if len(lines) != len(hypothesis_lines):
            raise DataError(
                f"{hypotheses} has {len(hypothesis_lines)} lines and {path} has {len(lines)}: a reference file has one "
                "line for each hypothesis, in the same order; name further references as files of their own"
            )
        if path.resolve() == hypotheses.resolve():
            raise DataError(f"{path} is named as hypotheses and as references; name what the model wrote first")
        if blank := next((number for number, line in enumerate(lines, start=1) if not line.strip()), 0):
            raise DataError(f"{path}:{blank}: a reference is empty; leave the line out of every file")
    used = scorers(tokenize, lowercase=lowercase, ter=ter)
    traps = Traps(language, limits or Limits())
    scores: list[ItemScore] = []
    for number, (line, *segment) in enumerate(zip(hypothesis_lines, *streams, strict=True), start=1):
        values = dict(traps.mark(line, segment))
        for scorer in used:
            values.update(scorer.count(line.strip(), segment))
        scores.append(ItemScore(f"{number:09d}", f"{number:09d}", values))
    traps.refuse(scores)
    return corpus_values(scores, used), [scorer.signature(len(references)) for scorer in used]


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert the file") from None
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise DataError(f"{path} is empty; it must have one line for each segment")
    return lines
