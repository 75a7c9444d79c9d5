"""A language (or a domain such as code): its script, letters and the cue words of prompts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["CardWords", "Cues", "Language", "load_language"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """The words that prompts in this language use, without their colons.

    letters: the option letters in order.
    """

    __pydantic_config__ = {"extra": "forbid"}

    passage: str
    question: str
    options: str
    answer: str
    letters: str = "ABCDEFGHIJKL"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWords:
    """What the card of a model says in this language.

    about: a sentence with `{name}` and `{parameters}`. results, task, value, interval, chance: headings of a table.
    source: where its numbers are from. decimal, group: the marks before decimals and between thousands, and percent: a
    percentage with `{}` for its number, as in the Unicode CLDR.
    """

    __pydantic_config__ = {"extra": "forbid"}

    about: str
    results: str
    task: str
    value: str
    interval: str
    chance: str
    source: str
    decimal: str
    group: str
    percent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One written language, or a domain of text that is scored beside languages.

    tag: BCP-47 with script, such as `kk-Cyrl`; a domain has a plain name such as `code`.
    script: ISO 15924 code (`Cyrl`, `Latn`), or `Zyyy` where the text is of no single script.
    alphabet: the lower-case letters of the language, in order.
    profile: `package/file` of running text in the language, UTF-8, with which `tilbench.text.language_id` tells it from
    others; a `.jsonl` file is read by the `text` of its rows. Empty: no text is said to be in another language.
    card: what the card of a model says in it; None where nobody has written it.
    """

    __pydantic_config__ = {"extra": "forbid"}

    tag: str
    name: str
    native_name: str
    script: str
    alphabet: str
    cues: Cues
    domain: bool = False
    profile: str = ""
    card: CardWords | None = None

    @property
    def deciding(self) -> dict[str, object]:
        """What a score can depend on, as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "card"}


def load_language(path: Path) -> Language:
    """Read a language from a YAML file of its fields. Raises ConfigError with file and line."""
    from tilbench.config import yaml

    return yaml.load(path, Language)
