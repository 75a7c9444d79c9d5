"""`tilbench new`: the folder of a new plugin, which installs and passes its checks as it is."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import click
import regex

from tilbench.cli.app import App
from tilbench.errors import ConfigError, DataError, near
from tilbench.paths import atomic_folder
from tilbench.testing.language import PLACEHOLDER, scripts_of

__all__ = ["SCRIPTS", "identifier", "letters_of", "new", "placeholder_rows", "read_tag", "write_folder"]

SCRIPTS: Mapping[str, str] = {
    "Arab": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "Armn": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "Beng": "অআইঈউঊঋএঐওঔকখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ",
    "Cher": "ꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿ",
    "Cyrl": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Deva": "अआइईउऊऋएऐओऔकखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसह",
    "Ethi": "ሀለሐመሠረሰሸቀበተቸኀነኘአከኸወዐዘዠየደጀገጠጨጰጸፀፈፐ",
    "Geor": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "Grek": "αβγδεζηθικλμνξοπρστυφχψω",
    "Gujr": "અઆઇઈઉઊઋએઐઓઔકખગઘઙચછજઝઞટઠડઢણતથદધનપફબભમયરલવશષસહ",
    "Guru": "ੳਅੲਸਹਕਖਗਘਙਚਛਜਝਞਟਠਡਢਣਤਥਦਧਨਪਫਬਭਮਯਰਲਵੜ",
    "Hang": "가나다라마바사아자차카타파하",
    "Hans": "一二三四五六七八九十",
    "Hant": "一二三四五六七八九十",
    "Hebr": "אבגדהוזחטיכלמנסעפצקרשת",
    "Jpan": "あいうえおかきくけこさしすせそたちつてと",
    "Khmr": "កខគឃងចឆជឈញដឋឌឍណតថទធនបផពភមយរលវសហឡអ",
    "Knda": "ಅಆಇಈಉಊಋಎಏಐಒಓಔಕಖಗಘಙಚಛಜಝಞಟಠಡಢಣತಥದಧನಪಫಬಭಮಯರಲವಶಷಸಹಳ",
    "Kore": "가나다라마바사아자차카타파하",
    "Laoo": "ກຂຄງຈສຊຍດຕຖທນບປຜຝພຟມຢຣລວຫອຮ",
    "Latn": "abcdefghijklmnopqrstuvwxyz",
    "Mlym": "അആഇഈഉഊഋഎഏഐഒഓഔകഖഗഘങചഛജഝഞടഠഡഢണതഥദധനപഫബഭമയരലവശഷസഹളഴറ",
    "Mong": "ᠠᠡᠢᠣᠤᠥᠦᠨᠪᠫᠬᠭᠮᠯᠰᠱᠲᠳᠴᠵᠶᠷᠸ",
    "Mymr": "ကခဂဃငစဆဇဈညဋဌဍဎဏတထဒဓနပဖဗဘမယရလဝသဟဠအ",
    "Sinh": "අආඇඈඉඊඋඌඑඒඔඕකඛගඝඞචඡජඣඤටඨඩඪණතථදධනපඵබභමයරලවශෂසහළෆ",
    "Taml": "அஆஇஈஉஊஎஏஐஒஓஔகஙசஞடணதநபமயரலவழளறன",
    "Telu": "అఆఇఈఉఊఋఎఏఐఒఓఔకఖగఘఙచఛజఝఞటఠడఢణతథదధనపఫబభమయరలవశషసహళ",
    "Tfng": "ⴰⴱⴳⴷⴹⴻⴼⴽⵀⵃⵄⵅⵇⵉⵊⵍⵎⵏⵓⵔⵕⵖⵙⵚⵛⵜⵟⵡⵢⵣⵥ",
    "Thai": "กขคงจฉชซญดตถทนบปผฝพฟภมยรลวศษสหอฮ",
    "Tibt": "ཀཁགངཅཆཇཉཏཐདནཔཕབམཙཚཛཝཞཟའཡརལཤསཧཨ",
}
"""ISO 15924 code → letters to begin an alphabet with."""


@click.group()
def new() -> None:
    """Write the folder of a new plugin: a package of its own, with the checks that it must pass.

    \b
    Example:
      tilbench new language ba-Cyrl --name Bashkir
    """


@new.command()
@click.argument("tag")
@click.option("--name", required=True, help="Name of the language in English.")
@click.option("--native-name", default="", help="Name of the language in itself [default: NAME].")
@click.option("--alphabet", default="", help="Its lower-case letters in order [default: common ones of the script].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: tilbench-NAME].")
@click.pass_obj
def language(app: App, tag: str, name: str, native_name: str, alphabet: str, out: Path | None) -> None:
    """Write a plugin for the language TAG, such as ba-Cyrl (BCP-47 with its script).

    \b
    Example:
      tilbench new language ba-Cyrl --name Bashkir --alphabet аәбвгғдҙеёжзийкҡлмнңоөпрсҫтуүфхһцчшщъыьэюя
    """
    from tilbench.resolve.schemas import schema_text

    subtag, script = read_tag(tag)
    letters = letters_of(script, alphabet)
    registry = app.host.registry
    if tag in registry.languages:
        entry = registry.languages.entry(tag)
        raise ConfigError(
            f"language {tag!r} is registered by {entry.plugin} ({entry.distribution}); to use text of your own with "
            f"it, put the files in a data directory and pass --data DIR"
        )
    # two scripts of one language cannot share the names of their samples
    shared = f"text/{subtag}/train" in registry.datasets
    samples = tag if shared else subtag
    cues = {f"cue_{cue}": letters[start : start + 3] for start, cue in enumerate(("passage", "question", "options"))}
    values = {
        **_names(identifier(name, tag), _one_line("--name", name)),
        **cues,
        "cue_answer": letters[3:6],
        "tag": tag,
        "script": script,
        "name_yaml": _quoted(name),
        "native_yaml": _quoted(_one_line("--native-name", native_name or name)),
        "alphabet_yaml": _quoted(letters),
        "arguments": f'__name__, "{tag}", {_quoted(name)}' + (f', samples="{tag}"' if shared else ""),
        "text_name": f"text/{samples}/train",
        "heldout_name": f"text/{samples}/heldout",
        "questions_name": f"questions/{samples}/test",
        "dev_name": f"questions/{samples}/dev",
        **{f"{kind}_schema": schema_text(kind, registry) for kind in ("language", "suite")},
    }
    _write("language", out, values, dict(placeholder_rows(letters)))


@new.command()
@click.argument("name")
@click.option("--title", default="", help="What it measures, in a few words [default: NAME].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: tilbench-NAME].")
@click.pass_obj
def metric(app: App, name: str, title: str, out: Path | None) -> None:
    """Write a plugin for the metric NAME.

    \b
    Example:
      tilbench new metric next-word --title "found next words"
    """
    plain = identifier(name, "")
    if not plain or name != name.lower() or " " in name:
        raise ConfigError(f"metric {name!r}: write lower-case letters, digits and -, beginning with a letter")
    registry = app.host.registry
    if name in registry.metrics:
        entry = registry.metrics.entry(name)
        raise ConfigError(f"metric {name!r} is registered by {entry.plugin} ({entry.distribution}); take another name")
    values = {
        **_names(plain, _one_line("--title", title or name)),
        "tag": name,
        "class_name": "".join(part.title() for part in plain.split("_")),
    }
    _write("metric", out, values)


def _names(plain: str, shown: str) -> dict[str, str]:
    dashed = plain.replace("_", "-")
    return {"name": shown, "plugin": plain, "package": f"tilbench_{plain}", "distribution": f"tilbench-{dashed}"}


def _one_line(option: str, text: str) -> str:
    """Refuse what would break the files that the text is put into."""
    if not text.strip() or not text.isprintable() or set(text) & set('"\\$`'):
        raise ConfigError(f"{option} {text!r}: write one line without quotes, backslashes, backticks and $")
    return text.strip()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _write(
    template: str,
    out: Path | None,
    values: Mapping[str, str],
    files: Mapping[str, list[dict[str, object]]] | None = None,
) -> None:
    target = out or Path(values["distribution"])
    write_folder(template, target, values, files)
    click.echo(f"wrote {target}")
    click.echo("next:")
    # a path with a slash: pip takes a bare word for the name of a package in its index
    click.echo(f"  pip install -e '{target.resolve()}[dev]'")
    click.echo(f"  tilbench check {values['tag']}")
    click.echo(f"  follow {target / 'README.md'}")


def read_tag(tag: str) -> tuple[str, str]:
    """Return language and script of a tag such as `ba-Cyrl`. Raises ConfigError that says what to write."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        known = langcodes.Language.get(tag)  # under its code of today: kk for kaz
    except LanguageTagError:
        known = langcodes.Language.make()
    language = known.language or ""
    script = known.script or known.maximize().script or ""
    if language and not langcodes.tag_is_valid(language):
        fix = "write a code of two or three letters, or one from qaa to qtz for a language that has none"
        raise ConfigError(f"tag {tag!r}: BCP-47 has no language {language!r}; {fix}")
    if tag != f"{language}-{script}":
        hint = f"{language}-{script}" if language and script else "ba-Cyrl"
        raise ConfigError(f"tag {tag!r}: write a language and its script, such as {hint} (BCP-47)")
    if script not in SCRIPTS and not scripts_of(script):
        close = near(script, SCRIPTS) or [code for code in SCRIPTS if code[0] == script[0]][:3]
        hint = f"did you mean {' or '.join(close)}? Known: " if close else "known: "
        raise ConfigError(f"tag {tag!r}: there is no script {script!r}; {hint}{', '.join(SCRIPTS)}")
    return language, script


def letters_of(script: str, given: str) -> str:
    """Return the alphabet to begin with: lower-case letters, each once. Raises ConfigError for foreign ones."""
    letters = "".join(dict.fromkeys(regex.findall(r"\S", (given or SCRIPTS.get(script, "")).lower())))
    if len(letters) < 6:
        why = "give the letters of the language, six or more, with --alphabet"
        raise ConfigError(f"{len(letters)} letters are no alphabet: {why}" if given else f"script {script}: {why}")
    allowed = "".join(rf"\p{{Script={each}}}" for each in scripts_of(script))
    foreign = regex.findall(rf"[\p{{L}}--[{allowed}\p{{Script=Common}}\p{{Script=Inherited}}]]", letters, regex.V1)
    if foreign:
        raise ConfigError(f"--alphabet: {''.join(foreign)!r} is not in the script {script}")
    return letters


def identifier(name: str, fallback: str) -> str:
    """Return `name` as it can stand in a package's name; `fallback` where nothing of it can."""
    plain = regex.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    plain = plain if plain[:1].isalpha() else ""
    return plain or regex.sub(r"[^a-z0-9]+", "_", fallback.lower()).strip("_")


def placeholder_rows(letters: str) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Yield file and rows that are valid and mean nothing: the alphabet turned round, and small sums."""

    def turned(start: int, length: int) -> str:
        return " ".join(letters[(start + step) % len(letters)] for step in range(length))

    def row(what: str, number: int, **fields: object) -> dict[str, Any]:
        return {"id": f"{PLACEHOLDER}-{what}-{number}", **fields}

    def question(what: str, number: int, a: int) -> dict[str, object]:
        answer = number % 4
        choices = [str(2 * a + step - answer) for step in range(4)]
        return row(what, number, question=f"{a} + {a} = ?", choices=choices, answer=answer, subject="sums")

    count = range(6)
    yield "text/train.jsonl", [row("train", n, text=turned(n, len(letters))) for n in count]
    yield "text/heldout.jsonl", [row("heldout", n, text=turned(n, 5) + f" {n}") for n in count[:3]]
    yield "questions/dev.jsonl", [question("dev", n, n + 3) for n in range(4)]
    yield "questions/test.jsonl", [question("test", n, n + 20) for n in range(8)]
    yield "probes.jsonl", [row("probe", n, prompt=turned(n, 4), target=letters[(n + 4) % len(letters)]) for n in count]
    yield "prompts.jsonl", [row("prompt", n, prompt=turned(n, 3)) for n in count]


def write_folder(
    template: str, target: Path, values: Mapping[str, str], files: Mapping[str, list[dict[str, object]]] | None = None
) -> None:
    """Write the folder of a plugin, whole or not at all.

    files: JSON-lines files inside the package. Raises DataError where `target` is a file or not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is there and not empty; name another folder with --out")
    source = resources.files("tilbench.cli") / "templates" / template
    with atomic_folder(target) as folder:
        package = folder / "src" / values["package"]  # an editable install makes all of `src` importable
        for directory in (package, folder / "tests"):
            directory.mkdir(parents=True)
        for place, into in ((source, folder), (source / "package", package)):
            for file in place.iterdir():
                if file.name.endswith(".tmpl"):
                    name = file.name.removesuffix(".tmpl")
                    path = folder / "tests" / name.removeprefix("tests_") if name.startswith("tests_") else into / name
                    text = string.Template(file.read_text(encoding="utf-8")).substitute(values)
                    path.write_text(text, encoding="utf-8")
        for relative, rows in (files or {}).items():
            path = package / "data" / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            path.write_text("".join(lines), encoding="utf-8")
