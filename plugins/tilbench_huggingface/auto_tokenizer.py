"""The tokenizer that Transformers makes of a folder, which need not be the one that its tokenizer.json says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilbench.errors import CheckpointError
from tilbench_huggingface.library import library_errors, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["added_before", "differences", "open_auto"]

_PARTS = ("normalizer", "pre_tokenizer")
"""What decides into which pieces a text is cut, and what Transformers may replace."""
_PROBE = "a"
_TRIED = 512
"""Entries of a vocabulary that are tried as a text."""


def open_auto(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Return Transformers' tokenizer of a folder. Raises CheckpointError in one line."""
    from transformers import AutoTokenizer

    with quiet(), library_errors(f"{folder}: its tokenizer cannot be loaded"):
        load: Callable[..., PreTrainedTokenizerBase] = AutoTokenizer.from_pretrained
        return load(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def added_before(tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[int]:
    """Return the ids that the tokenizer itself puts before a text.

    Raises CheckpointError where no text is found that the tokenizer has tokens for, or that it leaves whole.
    """
    for text in _texts(tokenizer):
        with library_errors(f"{folder}: its tokenizer cannot encode {text!r}"):
            bare = tokenizer(text, add_special_tokens=False)["input_ids"]
            full = tokenizer(text, add_special_tokens=True)["input_ids"]
        for start in range(len(full) - len(bare) + 1) if bare else ():
            if full[start : start + len(bare)] == bare:
                return [int(token) for token in full[:start]]
    raise CheckpointError(
        f"{folder}: its tokenizer has no token for any text that was tried, so what it puts before a text cannot be "
        "seen; choose with --prefix bos, eos or none"
    )


def _texts(tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield texts to try: a letter, then what ordinary entries of the vocabulary stand for."""
    yield _PROBE
    special = set(tokenizer.all_special_ids)
    ordinary = (token for token in sorted(tokenizer.get_vocab().values()) if token not in special)
    for token, _ in zip(ordinary, range(_TRIED), strict=False):
        text = str(tokenizer.decode([token])).strip()
        if text and "\ufffd" not in text:
            yield text


def differences(tokenizer: PreTrainedTokenizerBase, folder: Path) -> str:
    """Say which parts of the folder's tokenizer.json Transformers replaces; empty where none, or there is no file.

    Texts are encoded as tokenizer.json says.
    """
    from tokenizers import Tokenizer
    from transformers import __version__

    path = folder / "tokenizer.json"
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not path.is_file():
        return ""
    with library_errors(f"{path} cannot be read"):
        own = Tokenizer.from_file(str(path))
    changed = [part for part in _PARTS if _content(getattr(backend, part)) != _content(getattr(own, part))]
    if not changed:
        return ""
    by = f"AutoTokenizer of Transformers {__version__} ({type(tokenizer).__name__})"
    return f"{by} replaces the {' and the '.join(changed)} of tokenizer.json; texts are encoded as tokenizer.json says"


def _content(part: Any) -> bytes | None:
    """Return a part of a tokenizer as it is stored."""
    return None if part is None else bytes(part.__getstate__())
