"""Parts that do not conform: each is a toy with one fault, of the kind that has happened. For tests of checks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from tilbench.data.rows import Row
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Likelihood, Request
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.testing.toy_decoder import ToyArchitecture, ToyConfig, ToyDecoder
from tilbench.testing.toys import ToyLanguageModel, ToyLoader, ToyMetric, ToySettings, ToyTokenizer, ToyTokenizerFamily

__all__ = ["ARCHITECTURES", "LANGUAGE_MODELS", "LOADERS", "METRICS", "TOKENIZERS"]

# Architectures


class TransposedMask(ToyDecoder):
    """Linear biases whose mask is transposed: the future is seen, and training looks better than normal."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the bias of key and query in each other's place."""
        bias = super().bias(queries, keys, allowed)
        return bias.transpose(-1, -2) if bias.shape[-1] == bias.shape[-2] else bias


class SoftMask(ToyDecoder):
    """Linear biases without a mask: the future is only farther away."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the distances alone."""
        return super().bias(queries, keys, torch.ones_like(allowed))


class Leak(ToyDecoder):
    """A hundredth of the next token's embedding is mixed into each."""

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings that look one token ahead."""
        x = super().embed(ids)
        return x + 0.01 * torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), 1)


class DeadParameter(ToyDecoder):
    """A weight that nothing uses. The formula counts it."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.unused = nn.Parameter(torch.zeros(7))


class CacheOffByOne(ToyDecoder):
    """The first token after a cache is put one position too far."""

    def start(self, cache: Any | None) -> int:
        """Return one too many where something is cached."""
        return super().start(cache) + (cache is not None and cache.length > 0)


class IgnoresMask(ToyDecoder):
    """Takes a mask and is causal all the same."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the bias of a causal mask."""
        tokens, held = allowed.shape[-2], allowed.shape[-1] - allowed.shape[-2]
        causal = torch.ones(tokens, held + tokens, dtype=torch.bool).tril(held)
        return super().bias(queries, keys, causal)


class RowsMix(ToyDecoder):
    """The mean over the batch is taken off, so that what a row gives depends on its neighbours."""

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings less a share of their mean over rows."""
        x = super().embed(ids)
        return x - 0.1 * x.mean(0, keepdim=True)


class LoudStart(ToyDecoder):
    """First weights so large that a fresh model is sure of itself."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        nn.init.normal_(self.embedding.weight, std=2.0)


class FixedPrecision(ToyDecoder):
    """Computes in fp32 whatever its weights are."""

    def hidden(
        self, ids: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, cache: Any | None = None
    ) -> Tensor:
        """Return fp32 states."""
        return super().hidden(ids, positions=positions, mask=mask, cache=cache).float()

    def project(self, hidden: Tensor) -> Tensor:
        """Return logits in the weights' dtype."""
        return super().project(hidden.to(self.embedding.weight.dtype))


class WrongFormula(ToyArchitecture):
    """Forgets the last norm."""

    def parameters(self, config: ToyConfig) -> int:
        """Return too few."""
        return super().parameters(config) - 2 * config.width


class RightByChance(ToyArchitecture):
    """A formula that holds at one size: it takes the layers for two, whatever the config says."""

    def parameters(self, config: ToyConfig) -> int:
        """Return the parameters of two layers."""
        return super().parameters(config.model_copy(update={"layers": 2}))


class KeepsPrefix(ToyArchitecture):
    """Loads names as they are."""

    def load(self, config: ToyConfig, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        """Load strictly, without stripping anything."""
        from safetensors.torch import load_file

        from tilbench.errors import CheckpointError

        file = folder / "model.safetensors"
        if not file.is_file():
            raise CheckpointError(f"no weights at {file}")
        module = self.build(config)
        module.load_state_dict(load_file(file))
        return module.to(dtype) if dtype else module


class RoundsWeights(ToyArchitecture):
    """Saves in bfloat16."""

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write rounded weights."""
        copy = self.module(ToyConfig())
        copy.load_state_dict({name.removeprefix("_orig_mod."): t for name, t in module.state_dict().items()})
        super().save(copy.to(torch.bfloat16).float(), folder)


def _architecture(built: type[ToyDecoder], extra: int = 0) -> ToyArchitecture:
    class Made(ToyArchitecture):
        module = built

        def parameters(self, config: ToyConfig) -> int:
            return super().parameters(config) + extra

    return Made()


_SEES_AHEAD = {"causal_by_perturbation", "causal_by_gradient"}
_PACKED = {"packed_documents_equal_separate", "prefix_trees_equal_separate", "prefix_trees_on_a_cached_trunk"}

ARCHITECTURES: Mapping[str, tuple[Any, set[str]]] = {
    "transposed mask": (_architecture(TransposedMask), _SEES_AHEAD),
    "soft mask": (_architecture(SoftMask), _SEES_AHEAD),
    "leak": (_architecture(Leak), _SEES_AHEAD),
    "dead parameter": (_architecture(DeadParameter, 7), {"gradient_in_every_parameter"}),
    "cache off by one": (_architecture(CacheOffByOne), {"cached_token_by_token", "cached_in_chunks"}),
    "ignores its mask": (_architecture(IgnoresMask), _PACKED),
    "rows mix": (_architecture(RowsMix), {"accumulation_equals_large_batch"}),
    "loud start": (_architecture(LoudStart), {"initial_loss"}),
    "fixed precision": (_architecture(FixedPrecision), {"dtype_moves"}),
    "wrong formula": (WrongFormula(), {"parameter_count"}),
    "formula right by chance": (RightByChance(), {"parameter_count"}),
    "keeps the prefix": (KeepsPrefix(), {"wrapper_prefix_is_stripped"}),
    "rounds its weights": (RoundsWeights(), {"save_and_load"}),
}
"""What is wrong → a broken architecture, and the checks that must fail."""

# Tokenizers


class Lossy(ToyTokenizer):
    """Lower-cases, and counts nothing as unknown."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text in lower case."""
        return super().encode(text.lower())


class AddsBos(ToyTokenizer):
    """Puts BOS before every text."""

    def encode(self, text: str) -> list[int]:
        """Return one id too many."""
        return [0, *super().encode(text)]


class ReadsSpecials(ToyTokenizer):
    """Takes `</s>` in a text for the end of it."""

    def encode(self, text: str) -> list[int]:
        """Return the special id for its spelling."""
        parts = [super(ReadsSpecials, self).encode(part) for part in text.split("</s>")]
        return list(itertools.chain.from_iterable((*([1] if index else []), *ids) for index, ids in enumerate(parts)))


class TooLarge(ToyTokenizer):
    """Says that it has fewer ids than it uses."""

    size = 200


class BatchPads(ToyTokenizer):
    """Pads the texts of a batch."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of one length."""
        ids = super().encode_batch(texts)
        longest = max(map(len, ids))
        return [[*each, *[2] * (longest - len(each))] for each in ids]


class NoBos(ToyTokenizer):
    """Has no BOS, though its options name one."""

    def __init__(self, special: SpecialTokens | None = None) -> None:
        super().__init__(replace(special or SpecialTokens(eos=1, pad=2), bos=None))


class LosesBos(ToyTokenizerFamily):
    """Loads everything but the BOS token."""

    def load(self, reference: str) -> ToyTokenizer:
        """Return a tokenizer without BOS."""
        return ToyTokenizer(replace(super().load(reference).special, bos=None))


class NewEachTime(ToyTokenizerFamily):
    """Gives every tokenizer a fingerprint of its own."""

    _numbers = itertools.count()

    def train(self, texts: Iterable[str], options: Mapping[str, Any]) -> ToyTokenizer:
        """Return a tokenizer that no other one equals."""
        tokenizer = super().train(texts, options)
        tokenizer.fingerprint += str(next(self._numbers))
        return tokenizer


def _family(tokenizer: type[ToyTokenizer]) -> ToyTokenizerFamily:
    class Made(ToyTokenizerFamily):
        made = tokenizer

    return Made()


TOKENIZERS: Mapping[str, tuple[Any, set[str]]] = {
    "lossy": (_family(Lossy), {"lossless"}),
    "adds BOS": (_family(AddsBos), {"nothing_is_added", "special_strings_are_text"}),
    "reads special tokens": (_family(ReadsSpecials), {"special_strings_are_text", "lossless"}),
    "ids beyond its size": (_family(TooLarge), {"ids_are_within_size"}),
    "pads a batch": (_family(BatchPads), {"batch_equals_single"}),
    "no BOS": (_family(NoBos), {"declared_special_tokens_are_there"}),
    "loses BOS": (LosesBos(), {"save_and_load"}),
    "a new fingerprint each time": (NewEachTime(), {"made_twice_is_the_same", "save_and_load"}),
}
"""What is wrong → a broken family, and the checks that must fail."""

# Metrics


class FirstHalf(ToyMetric):
    """Looks at the first half of the rows that come."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return what depends on the order of rows."""
        return super().aggregate(scores[: (len(scores) + 1) // 2])


class Running(ToyMetric):
    """Scores a row against those before it."""

    def __init__(self, settings: ToySettings, context: TaskContext) -> None:
        super().__init__(settings, context)
        self.seen = 0

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return what depends on the rows before."""
        self.seen += 1
        score = super().score(row, answers)
        return replace(score, values={"bits": score.values["bits"] + self.seen})


class Remembers(ToyMetric):
    """Aggregates what it saw itself, not the scores that it is given."""

    def __init__(self, settings: ToySettings, context: TaskContext) -> None:
        super().__init__(settings, context)
        self.kept: dict[str, ItemScore] = {}

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Keep the score."""
        score = super().score(row, answers)
        self.kept[row.id] = score
        return score

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the mean of what was kept, or of what is given where nothing was."""
        values = super().aggregate(scores)
        return {"bits": replace(values["bits"], value=values["bits"].value + 1e-3 * len(self.kept))}


class NoHeadline(ToyMetric):
    """Shows a value first that it does not compute."""

    headline = "bits_per_byte"


class NotInInterval(ToyMetric):
    """Its interval is that of something else."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return a value below its interval."""
        values = super().aggregate(scores)
        return {name: replace(value, low=value.value + 1, high=value.value + 2) for name, value in values.items()}


class NotANumber(ToyMetric):
    """Divides nothing by nothing."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return NaN."""
        values = super().aggregate(scores)
        return {name: replace(value, value=float("nan")) for name, value in values.items()}


class OpenSettings(ToyMetric):
    """Takes any setting, misspelled ones too."""

    class Loose(BaseModel):
        """Settings that ignore what they do not know."""

        scale: float = 1.0

    Settings: ClassVar[type[Any]] = Loose


METRICS: Mapping[str, tuple[Any, set[str]]] = {
    "order-dependent": (FirstHalf, {"row_order_does_not_matter"}),
    "state in score": (Running, {"batch_composition_does_not_matter", "item_scores_suffice"}),
    "state in aggregate": (Remembers, {"item_scores_suffice"}),
    "no headline": (NoHeadline, {"headline_is_a_value"}),
    "outside its interval": (NotInInterval, {"values_are_sound"}),
    "not a number": (NotANumber, {"values_are_sound"}),
    "open settings": (OpenSettings, {"interface"}),
}
"""What is wrong → a broken metric, and the checks that must fail."""

# Language models and loaders


class Forgets(ToyLanguageModel):
    """Leaves the last request of each batch out."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer too few."""
        for batch in super().answer(requests):
            yield batch[:-1] if len(requests) > 1 else batch


class Repeats(ToyLanguageModel):
    """Answers twice."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer too much."""
        for batch in super().answer(requests):
            yield batch
            yield batch


class Moody(ToyLanguageModel):
    """Answers by what was asked before."""

    def __init__(self, card: ModelCard | None = None) -> None:
        super().__init__(card)
        self.asked = 0

    def one(self, request: Request) -> Answer:
        """Answer something new each time."""
        self.asked += 1
        answer = super().one(request)
        return replace(answer, logprob=answer.logprob - self.asked) if isinstance(answer, Likelihood) else answer


class Certain(ToyLanguageModel):
    """Forgets the sign."""

    def one(self, request: Request) -> Answer:
        """Answer with a log-probability above 0."""
        answer = super().one(request)
        return replace(answer, logprob=-answer.logprob) if isinstance(answer, Likelihood) else answer


class Renamed(ToyLoader):
    """Describes another model than it opens."""

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Return a card of something else."""
        return replace(super().card(reference, options), fingerprint="toy:0")


class Unstable(ToyLoader):
    """Fingerprints the moment, not the model."""

    _numbers = itertools.count()

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Return a new fingerprint each time."""
        return replace(super().card(reference, options), fingerprint=f"toy:{next(self._numbers)}")


class Greedy(ToyLoader):
    """Recognises everything."""

    def recognises(self, reference: str) -> bool:
        """Say yes."""
        return True


LANGUAGE_MODELS: Mapping[str, tuple[Any, set[str]]] = {
    "forgets": (Forgets(), {"every_request_is_answered_once"}),
    "repeats": (Repeats(), {"every_request_is_answered_once"}),
    "moody": (Moody(), {"equal_requests_have_equal_answers"}),
    "above certainty": (Certain(), {"likelihoods_are_probabilities"}),
}
"""What is wrong → a broken model, and the checks that must fail."""

LOADERS: Mapping[str, tuple[Any, set[str]]] = {
    "another card": (Renamed(), {"card_before_open"}),
    "a fingerprint of the moment": (Unstable(), {"card_before_open", "fingerprint_is_stable"}),
    "recognises everything": (Greedy(), {"recognises_its_own"}),
}
"""What is wrong → a broken loader, and the checks that must fail."""
