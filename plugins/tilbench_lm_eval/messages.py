"""What lm-evaluation-harness asks of a model, as requests of ours, and our answers as its responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from tilbench.config.decoding import SAMPLING, TRANSFORMERS, Decoding
from tilbench.errors import PluginError, Unsupported
from tilbench.kinds.prompt import Prompt
from tilbench.kinds.requests import Answer, Continuation, Document, Generated, Generation, Likelihood, Request
from tilbench_lm_eval.library import quiet

__all__ = ["as_request", "as_response"]

MAX_GEN_TOKS = 256
"""New tokens where a task sets no limit; lm-evaluation-harness's own default."""
_DECODING = {name: TRANSFORMERS[name] for name in SAMPLING if name != "temperature"}
"""Our decoding setting → its generation argument."""
_READ = {"until", "max_gen_toks", "do_sample", "temperature", *_DECODING.values()}
_NEUTRAL: Mapping[str, Any] = {"num_beams": 1, "use_cache": True, "min_p": 0}
"""Arguments that may be there with the value that changes nothing."""


def as_request(
    kind: str,
    arguments: Sequence[Any],
    repeat: int = 0,
    prompts: Mapping[str, Prompt] = MappingProxyType({}),
    beside: tuple[str, ...] = (),
) -> Request:
    """Return the request that an `Instance` of `kind` (its request_type) stands for.

    repeat: which of several answers to one instance; it seeds a text that is sampled. prompts: by their text, those of
    which is known what may be left out where they do not fit a model. beside: the continuations that are compared.
    Raises Unsupported for other kinds, and for generation arguments that our decoding does not have.
    """
    match kind:
        case "loglikelihood":
            context, continuation = arguments[:2]
            prompt = prompts.get(context, Prompt(context))
            return Continuation(context, continuation, prompt.optional, prompt.keep, beside)
        case "loglikelihood_rolling":
            return Document(arguments[0])
        case "generate_until":
            context, options = arguments[:2]
            return _generation(prompts.get(context, Prompt(context)), options, repeat)
    raise Unsupported(f"lm-eval asks for {kind!r}, which tilbench's models do not answer")


def as_response(kind: str, answer: Answer) -> tuple[float, bool] | float | str:
    """Return what lm-evaluation-harness expects of a model's method `kind`."""
    match kind, answer:
        case "loglikelihood", Likelihood():
            return answer.logprob, bool(answer.greedy)
        case "loglikelihood_rolling", Likelihood():
            return answer.logprob
        case "generate_until", Generated():
            return answer.text
    raise PluginError(f"an lm-eval request {kind!r} was answered by {type(answer).__name__}")


def _generation(prompt: Prompt, options: Mapping[str, Any], repeat: int) -> Generation:
    with quiet():
        from lm_eval.models.utils import normalize_gen_kwargs

        known: Mapping[str, Any] = normalize_gen_kwargs(dict(options), MAX_GEN_TOKS)
    for name, value in known.items():
        if name not in _READ and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            raise Unsupported(f"its generation argument {name}={value!r} has no counterpart in tilbench's decoding")
    sampled = bool(known["do_sample"])
    temperature = float(known.get("temperature", 1.0)) if sampled else 0.0
    chosen = {ours: known[theirs] for ours, theirs in _DECODING.items() if known.get(theirs) is not None}
    decoding = Decoding(max_new_tokens=known["max_gen_toks"], temperature=temperature, **chosen)
    stop = tuple(stop for stop in known["until"] if stop)
    return Generation(prompt.text, decoding, stop, repeat, prompt.optional, prompt.keep)
