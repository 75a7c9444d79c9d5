"""The chat template that a model was tuned with, as Transformers keeps it, and the token that ends an answer."""

from __future__ import annotations

from pathlib import Path

from tilbench.kinds.exporter import ExportJob
from tilbench.text.chat import template

__all__ = ["JINJA", "answer_end", "chat_jinja", "write_chat_template"]

_CHATML = """{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

_GEMMA = """{%- set ns = namespace(before='') -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.before = message['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
        {{- '<start_of_turn>' + role + '\\n' + ns.before + message['content'].strip() + '<end_of_turn>\\n' -}}
        {%- set ns.before = '' -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""

_PLAIN = """{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {{- message['content'] + '\\n' -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- 'Assistant: ' + message['content'] + eos_token + '\\n' -}}
    {%- else -%}
        {{- 'User: ' + message['content'] + '\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- 'Assistant:' -}}
{%- endif -%}
"""

_ALPACA = """{%- set ns = namespace(opening=none, first=true) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.opening = message['content'] -%}
    {%- elif message['role'] == 'assistant' -%}
        {{- '### Response:' + message['content'] + eos_token -}}
    {%- else -%}
        {%- if ns.first -%}
            {%- set more = ', paired with an input that provides further context' -%}
            {%- set task = 'Below is an instruction that describes a task' -%}
            {%- set task = task + (more if '\\n\\n### Input:\\n' in message['content'] else '') -%}
            {%- set task = task + '. Write a response that appropriately completes the request.' -%}
            {{- task if ns.opening is none else ns.opening -}}
        {%- endif -%}
        {{- '\\n\\n### Instruction:\\n' + message['content'] + '\\n\\n' -}}
        {%- set ns.first = false -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '### Response:' -}}
{%- endif -%}
"""

JINJA = {"alpaca": _ALPACA, "chatml": _CHATML, "gemma": _GEMMA, "plain": _PLAIN}
"""By the names of `tilbench.text.chat`, the same text for the same turns."""


def chat_jinja(job: ExportJob) -> str:
    """Return the chat template of the model; empty for one that was not tuned on conversations."""
    if not job.chat:
        return ""
    begins = job.info.prefix is not None and job.info.prefix_contexts
    return ("{{- bos_token -}}\n" if begins else "") + JINJA[job.chat]


def answer_end(job: ExportJob) -> int | None:
    """Return the token that ends an answer: the template's mark where the tokenizer has it, else end-of-text."""
    mark = template(job.chat).end if job.chat else ""
    end: int | None = job.tokenizer.special.named.get(mark, job.tokenizer.special.eos)
    return end


def write_chat_template(job: ExportJob, out: Path) -> None:
    """Write chat_template.jinja, if there is a template. tokenizer_config.json has it too, for older versions."""
    if text := chat_jinja(job):
        (out / "chat_template.jinja").write_text(text, encoding="utf-8")
