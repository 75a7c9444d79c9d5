"""The card of an exported model: a README.md that says what it is, where it is from and how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import yaml

from tilbench.kinds.exporter import ExportJob
from tilbench.results.markdown import escape, table

__all__ = ["loading", "model_card"]

_HEADER = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["tilbench"]}


def model_card(
    job: ExportJob, sections: Sequence[tuple[str, str]], about: Mapping[str, object] = MappingProxyType({})
) -> str:
    """Return the card. sections: further headings with their Markdown, such as results read from records.

    about: further fields of its header, which the Hub reads. The rest says what the checkpoint's files say and claims
    nothing else.
    """
    info = job.info
    facts = [
        ("model", info.model),
        ("architecture", info.architecture.name),
        ("parameters", f"{info.parameters:,}"),
        ("context", f"{job.config.max_length:,} tokens"),
        ("dtype", job.dtype),
        ("training steps", f"{info.step:,}"),
        ("training tokens", f"{info.tokens:,}"),
        ("tokenizer", f"{info.tokenizer}, {job.tokenizer.size:,} entries"),
        ("trained by", f"tilbench {info.tilbench}"),
    ]
    if info.run:
        facts.append(("run", info.run))
    facts += [("started from", fingerprint) for fingerprint in info.lineage]
    header = yaml.safe_dump({**_HEADER, **about}, allow_unicode=True, sort_keys=False).rstrip()
    lines = ["---", header, "---", "", f"# {escape(info.model)}", ""]
    lines += table(["", ""], [(name, escape(str(value))) for name, value in facts], "ll")
    for heading, body in sections:
        lines += ["", f"## {escape(heading)}", "", body.strip()]
    return "\n".join(lines) + "\n"


def loading(*, code: bool) -> tuple[str, str]:
    """Return the section that says how Transformers loads the folder. code: the model's class lies in it."""
    trust = ", trust_remote_code=True" if code else ""
    lines = [
        *(["The model's class is in this folder. Loading runs it: read it first.", ""] if code else []),
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'model = AutoModelForCausalLM.from_pretrained("FOLDER"{trust})',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        "```",
    ]
    return "Loading", "\n".join(lines)
