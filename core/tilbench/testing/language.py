"""What every language and its sample data must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Formatter
from typing import ClassVar

import regex

from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows
from tilbench.data.rows import Conversation, Document, Pair, Probe, Prompt, Question, Reading, Row
from tilbench.data.samples import LAYOUT, sample_datasets
from tilbench.kinds.language import Language
from tilbench.testing.base import Conformance, NotApplicable, require
from tilbench.text.language_classes import LEAST_PROFILE, profile_text
from tilbench.text.language_id import identify
from tilbench.text.scripts import scripts_of

__all__ = ["PLACEHOLDER", "LanguageConformance", "scripts_of"]

PLACEHOLDER = "replace-me"
"""How the ids of placeholder rows begin that `tilbench new language` writes."""

_SHIPPED = {"train": 20, "heldout": 8, "dev": 5, "test": 30, "probes": 10, "prompts": 10}
"""Least rows of each sample file of a language that comes with tilbench."""


class LanguageConformance(Conformance):
    """Checks of a language and of the sample data in its package.

    package: importable; its `language.yaml` is the subject, and its sample files are read where they are. Or,
    in its place, subject: the language, and datasets: its samples, file → dataset (files of
    `tilbench.data.samples.LAYOUT`). shipped: the language comes with tilbench and must have all samples, of a
    least size, or none.
    """

    settable: ClassVar[tuple[str, ...]] = ()
    package: str = ""
    subject: Language | None = None
    datasets: Mapping[str, Dataset] | None = None
    shipped: bool = False
    _rows: dict[str, Sequence[Row]] | None = None

    def language(self) -> Language:
        """Return the language under test."""
        if self.subject is not None:
            return self.subject
        from tilbench.config.yaml import load
        from tilbench.paths import package_file

        return load(package_file(self.package, "language.yaml"), Language)

    def samples(self) -> Mapping[str, Sequence[Row]]:
        """Return the rows of each sample file that is there, by the file's name without `.jsonl`."""
        if self._rows is None:
            datasets = self.datasets
            if datasets is None:
                from tilbench.paths import package_file

                found = sample_datasets(self.package, self.language().tag)
                root = package_file(self.package, "")
                datasets = {each.file: each for _, each in found if (root / each.file).is_file()}
            self._rows = {Path(file).stem: load_rows(file, each, None).rows for file, each in datasets.items()}
        return self._rows

    def test_tag(self) -> None:
        """The tag is a language with its script, such as `kk-Cyrl`; that of a domain is one plain word."""
        language = self.language()
        if language.domain:
            require(regex.fullmatch(r"[a-z][a-z0-9-]*", language.tag), f"{language.tag!r} is no plain word")
            return
        tag = regex.fullmatch(r"[a-z]{2,3}-([A-Z][a-z]{3})(-[A-Z]{2})?", language.tag)
        require(tag, f"{language.tag!r} is no BCP-47 language with its script, such as kk-Cyrl")
        same = tag is not None and tag[1] == language.script
        require(same, f"the tag {language.tag!r} and the script {language.script!r} disagree")

    def test_names(self) -> None:
        """It has a name in English and one in itself."""
        language = self.language()
        for field in ("name", "native_name"):
            value = getattr(language, field)
            require(value.strip() and value == value.strip(), f"{field} is {value!r}")

    def test_alphabet(self) -> None:
        """The alphabet has lower-case letters of the script, each once."""
        language = self.language()
        twice = [letter for letter, count in Counter(language.alphabet).items() if count > 1]
        require(language.alphabet, "the alphabet is empty")
        require(not twice, f"{''.join(twice)!r} stands twice in the alphabet")
        upper = [letter for letter in language.alphabet if letter != letter.lower()]
        require(not upper, f"{''.join(upper)!r} in the alphabet is upper case")
        foreign = _outside(language.alphabet, language)
        require(not foreign, f"{''.join(foreign)!r} in the alphabet is not in the script {language.script}")

    def test_cues(self) -> None:
        """Cue words have no colon or space around them and are in the script; option letters differ."""
        language = self.language()
        for field in ("passage", "question", "options", "answer"):
            word = getattr(language.cues, field)
            bare = word and word == word.strip() and not word.endswith((":", "："))
            require(bare, f"cue {field} is {word!r}: write it without its colon and without space around it")
            foreign = [] if language.domain else _outside(word, language)
            require(not foreign, f"cue {field}, {word!r}, is not in the script {language.script}")
        letters = language.cues.letters
        require(len(letters) >= 4, f"there are {len(letters)} option letters; questions have four options and more")
        require(len(set(letters)) == len(letters), f"an option letter stands twice in {letters!r}")

    def test_card(self) -> None:
        """The words for a model's card, where there are any, name the model and its parameters, and write numbers."""
        words = self.language().card
        if words is None:
            raise NotApplicable("it has no words for a model's card")
        fields = {field for _, field, _, _ in Formatter().parse(words.about) if field is not None}
        right = fields == {"name", "parameters"}
        require(right, f"card about has the fields {sorted(fields)}, not name and parameters")
        # A space that breaks no line is a mark, and not nothing.
        empty = [name for name, word in asdict(words).items() if not word.strip(" \n")]
        require(not empty, f"card {', '.join(empty)} is empty")
        require("5" in words.percent.format(5), f"card percent {words.percent!r} has no {{}} for the number")

    def test_samples_are_there(self) -> None:
        """Sample files hold rows; a language that comes with tilbench has all of them, large enough, or none."""
        samples = self.samples()
        if not samples:
            raise NotApplicable("it has no sample files")
        for _, file, _ in LAYOUT.values():
            name = Path(file).stem
            least = _SHIPPED[name] if self.shipped else 1
            if self.shipped or name in samples:
                found = len(samples.get(name, ()))
                require(found >= least, f"{file} has {found} rows, and {least} are the least")

    def test_profile(self) -> None:
        """Its profile is running text in the script, long enough, and all but its names is in the alphabet."""
        language = self.language()
        if not language.profile:
            raise NotApplicable("it has no profile: texts in it cannot be told from others")
        text = profile_text(language.profile)
        letters = regex.findall(r"\p{L}", text)
        if any(row.id.startswith(PLACEHOLDER) for row in self._in_profile()):
            raise NotApplicable("its profile is the sample text, whose rows are placeholders still")
        require(
            len(letters) >= LEAST_PROFILE, f"the profile has {len(letters)} letters, and {LEAST_PROFILE} are the least"
        )
        share = len(_outside("".join(letters), language)) / len(letters)
        require(share <= 0.05, f"{share:.0%} of the letters of the profile are not in the script {language.script}")
        known = set(language.alphabet + language.alphabet.upper())
        strange = sum(letter not in known for letter in letters) / len(letters)
        require(strange <= 0.05, f"{strange:.0%} of the letters of the profile are not in the alphabet")
        found = identify(text, [language])
        require(found == language.tag, f"the profile is said to be in {found}, not in {language.tag}")

    def test_samples_are_not_placeholders(self) -> None:
        """The rows that `tilbench new language` wrote have been replaced."""
        left = {name: sum(row.id.startswith(PLACEHOLDER) for row in rows) for name, rows in self.samples().items()}
        if any(left.values()):
            files = ", ".join(name for name, count in left.items() if count)
            raise NotApplicable(f"{sum(left.values())} rows are placeholders still, in {files}: replace them")

    def test_ids_are_unique(self) -> None:
        """No id occurs twice, in one file or in two of a kind."""
        samples = self.samples()
        for names in (("train", "heldout"), ("dev", "test"), ("probes",), ("prompts",)):
            ids = Counter(row.id for name in names for row in samples.get(name, ()))
            twice = [name for name, count in ids.items() if count > 1]
            require(not twice, f"the id {twice[:1]} occurs twice in {' and '.join(names)}")

    def test_answers_are_spread(self) -> None:
        """Right answers are spread evenly over the options, so that always choosing one is no better than chance."""
        by_options: dict[int, list[int]] = {}
        for row in self.samples().get("test", ()):
            assert isinstance(row, Question)
            by_options.setdefault(len(row.choices), []).append(row.answer)
        for options, answers in by_options.items():
            place, most = Counter(answers).most_common(1)[0]
            allowed = 1.5 * len(answers) / options + 1
            reason = f"of {len(answers)} questions with {options} options {most} have the answer at {place}"
            require(most <= allowed, f"{reason}; shuffle the options")

    def test_options_differ(self) -> None:
        """No question has two options of one text, and none is asked twice."""
        rows = [row for name in ("dev", "test") for row in self.samples().get(name, ()) if isinstance(row, Question)]
        for row in rows:
            require(len(set(row.choices)) == len(row.choices), f"question {row.id} has two equal options")
        asked = Counter((row.passage, row.question, row.choices) for row in rows)
        twice = [question for (_, question, _), count in asked.items() if count > 1]
        require(not twice, f"the question {twice[:1]} is asked twice, in dev or test")

    def test_heldout_text_is_unseen(self) -> None:
        """No text of `train` is in `heldout`, nor a paragraph of eight words or more."""
        train, heldout = (self._paragraphs(name) for name in ("train", "heldout"))
        shared = set(train) & set(heldout)
        where = next(((train[text], heldout[text]) for text in shared), None)
        require(not shared, f"train and heldout share {len(shared)} texts or paragraphs, such as in {where}")

    def test_text_is_in_the_script(self) -> None:
        """Most letters of each sample file are of the script."""
        language = self.language()
        if language.domain or not scripts_of(language.script):
            raise NotApplicable("a domain's text is of no single script")
        for name, rows in self.samples().items():
            letters = regex.findall(r"\p{L}", " ".join(map(_text, rows)))
            foreign = _outside("".join(letters), language)
            share = len(foreign) / max(1, len(letters))
            require(share <= 0.25, f"{share:.0%} of the letters in {name} are not in the script {language.script}")

    def test_probes_fit(self) -> None:
        """Neither a probe's prompt nor its target begins or ends with white space."""
        for row in self.samples().get("probes", ()):
            assert isinstance(row, Probe)
            bare = row.prompt == row.prompt.strip() and row.target == row.target.strip()
            require(bare, f"probe {row.id} begins or ends with white space")

    def _in_profile(self) -> Sequence[Row]:
        """Return the rows of the sample file that is the profile, if one is."""
        file = self.language().profile.rpartition("/")[2]
        return self.samples().get(file.removesuffix(".jsonl"), ())

    def _paragraphs(self, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for row in self.samples().get(name, ()):
            whole = " ".join(_text(row).split())
            parts = [" ".join(part.split()) for part in _text(row).splitlines()]
            found.update({part: row.id for part in (whole, *parts) if part == whole or len(part.split()) >= 8})
        return found


def _outside(text: str, language: Language) -> list[str]:
    """Return the letters of `text` outside the language's script; nothing where it is of no single script."""
    if language.domain or language.script in ("Zyyy", "Zinh", "Zzzz"):
        return []
    scripts = scripts_of(language.script)
    require(scripts, f"{language.script!r} is no script that Unicode knows")
    allowed = "".join(rf"\p{{Script={script}}}" for script in scripts)
    allowed += r"\p{Script=Common}\p{Script=Inherited}"
    found: list[str] = regex.findall(rf"[\p{{L}}--[{allowed}]]", text, regex.V1)
    return found


def _text(row: Row) -> str:
    match row:
        case Document():
            return row.text
        case Question():
            return " ".join((row.passage, row.question, *row.choices))
        case Probe():
            return f"{row.prompt} {row.target}"
        case Prompt():
            return row.prompt
        case Pair():
            return row.source
        case Reading():
            return f"{row.context} {row.question}"
        case Conversation():
            return " ".join(content for _, content in row.messages)
        case _:
            return ""  # of another harness: no language has such samples
