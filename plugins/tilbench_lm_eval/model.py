"""Models of tilbench as a model of lm-evaluation-harness, under the name `tilbench`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from tilbench.config.model import DType
from tilbench.config.references import split_hub
from tilbench.errors import Unsupported
from tilbench.kinds.requests import Answer, Request
from tilbench.loader import load_plugins
from tilbench.resolve.datasets import ReferenceText
from tilbench.resolve.model_options import ModelOptions, PrefixName, open_options
from tilbench.resolve.models import find_model
from tilbench_lm_eval.messages import as_request, as_response
from tilbench_lm_eval.refusal import check_read

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["TilbenchLM"]


@register_model("tilbench")
class TilbenchLM(LM):  # type: ignore[misc, unused-ignore]  # lm-eval has no types
    """Any model reference of tilbench, answered by its engine.

    checkpoint: what `tilbench run --models` takes: a folder, a spec, `spec:variant@step`, `hf:org/name@revision`, `xz`.
    device, dtype, batch_tokens, prefix, trust_remote_code: as the options of `tilbench run`. runs: the folder of
    trainings. reference_text: datasets that a trainable baseline learns from, with + between them. data: the data
    directory they are searched in. batch_size and max_batch_size are accepted and not used: a batch is as many texts as
    have batch_tokens tokens. Raises TilbenchError, in one line, where the model cannot be opened.
    """

    def __init__(
        self,
        checkpoint: str,
        device: str | None = None,
        dtype: DType = "float32",
        batch_tokens: int = 4096,
        prefix: PrefixName = "",
        runs: str = "runs",
        reference_text: str = "",
        data: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        registry = load_plugins().registry
        source = find_model(checkpoint, registry, Path(runs))
        named = [name for name in reference_text.split("+") if name]
        options = open_options(
            ModelOptions(
                device=device or "auto",
                dtype=dtype,
                batch_tokens=batch_tokens,
                prefix=prefix,
                trust_remote_code=trust_remote_code,
            ),
            registry,
            ReferenceText(named, registry, Path(data) if data else None),
        )
        self.card = source.card(options)
        self._model = source.open(options)
        self._dtype = dtype
        self._reference = source.reference

    @property
    def tokenizer_name(self) -> str:
        """Fingerprint of the tokenizer, which keys lm-eval's cache of requests."""
        return self.card.tokenizer

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return (log-probability, whether greedy decoding gives it) of each continuation."""
        return self._responses("loglikelihood", requests)

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of each whole text."""
        return self._responses("loglikelihood_rolling", requests)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return the text that follows each prompt. Repeats of one request are sampled with seeds of their own."""
        return self._responses("generate_until", requests)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template that the model's tokenizer comes with; None where none is asked for."""
        if not chat_template:
            return None
        found: str = self._chat.get_chat_template(chat_template if isinstance(chat_template, str) else None)
        return found

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Write a conversation as the template has it.

        Raises Unsupported for a template that writes special tokens: a prompt is text, and in a text a special token
        that is spelled out is read as the characters it is.
        """
        written: str = self._chat.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        if special := [token for token in self._chat.all_special_tokens if token in written]:
            raise Unsupported(
                f"{self.card.name}: its chat template writes {', '.join(special)}, which tilbench reads as plain text; "
                "evaluate it without --apply_chat_template, or with lm-eval's own model 'hf'"
            )
        return written

    @functools.cached_property
    def _chat(self) -> Any:
        """The tokenizer as Transformers loads it. Raises Unsupported where there is none with a chat template."""
        from transformers import AutoTokenizer

        name, revision = split_hub(self._reference) or (self._reference, None)
        load: Any = AutoTokenizer.from_pretrained
        try:
            tokenizer = load(name, revision=revision or "main")
        except (OSError, ValueError):
            tokenizer = None
        if getattr(tokenizer, "chat_template", None) is None:
            raise Unsupported(f"{self.card.name} has no chat template; evaluate it without --apply_chat_template")
        return tokenizer

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval's results say of the model."""
        return {
            "model_name": self.card.name,
            "model_fingerprint": self.card.fingerprint,
            "model_num_parameters": self.card.parameters,
            "model_dtype": self._dtype,
            "model_prefix": self.card.prefix,
        }

    def _responses(self, kind: str, instances: Sequence[Instance]) -> list[Any]:
        seen: dict[int, int] = {}
        wanted: list[Request] = []
        for instance in instances:
            repeat = seen[id(instance)] = seen.get(id(instance), -1) + 1
            wanted.append(as_request(kind, instance.args, repeat))
        answers: dict[Request, Answer] = {
            request: answer for batch in self._model.answer(list(dict.fromkeys(wanted))) for request, answer in batch
        }
        check_read(self.card.name, instances, wanted, answers)
        responses = [as_response(kind, answers[request]) for request in wanted]
        for instance, response in zip(instances, responses, strict=True):
            self.cache_hook.add_partial(kind, instance.args, response)
        return responses
