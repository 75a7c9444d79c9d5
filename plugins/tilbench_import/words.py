"""What the names of weights say of them, in the words of published implementations."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tilbench_import.templates import Shape, Template

__all__ = ["Guess", "gelu_convention", "guesses", "is_buffer", "leaf", "rotary_convention"]


@dataclass(frozen=True, slots=True)
class Guess:
    """Roles that a name may stand for, one below the other or a head of each in turn.

    why: the convention that decides between readings, where one had to.
    """

    roles: tuple[str, ...]
    by_head: bool = False
    why: str = ""


_ATTENTION = frozenset({"attn", "attention", "att", "sa", "mha", "mixer", "selfattn", "selfattention"})
_FEED_FORWARD = frozenset({"mlp", "ffn", "ff", "ffwd", "ffw", "feedforward", "feed", "forward"})
_SCOPE = _ATTENTION | _FEED_FORWARD | {"self"}
_FILLER = frozenset({"proj", "projection", "linear", "lin", "layer", "to", "matrix"})
_BUFFERS = frozenset(
    {"mask", "masked", "tril", "causal", "inv", "freq", "freqs", "cos", "sin", "alibi", "slopes", "cache", "cached"}
)

_SINGLE: dict[str, tuple[str, ...]] = {
    "q": ("q", "wq", "query", "queries"),
    "k": ("k", "wk", "key", "keys"),
    "v": ("v", "wv", "value", "values"),
    "q_a": ("qa", "wqa", "qdown", "dq", "wdq"),
    "q_b": ("qb", "wqb", "qup", "uq", "wuq"),
    "k_rope": ("kr", "wkr", "krope", "kpe"),
    "k_b": ("uk", "wuk", "kb", "wkb", "kup"),
    "v_b": ("uv", "wuv", "vb", "wvb", "vup"),
}
_UP = ("up", "wup", "cfc", "fcin", "densehto4h", "expand")
_DOWN = ("down", "wdown", "fcout", "dense4htoh", "contract")
_OUT = ("o", "wo", "out", "wout", "output", "cproj", "proj", "dense", "resid", "projection")
_NUMBERED = re.compile(r"(w|fc|lin|linear|dense|l|layer|proj)_?([0123])")
_KV_DOWN = ("kvawithmqa", "kva", "wkva", "kvdown", "dkv", "wdkv")
_KV_UP = ("kvb", "wkvb", "kvup", "ukv", "wukv")


def leaf(template: Template) -> str:
    """Return the word of a name that says most: the last that is no number, without the module's around it."""
    words = [word for word in template.base.split(".") if not re.fullmatch(r"[\d*#]*", word)]
    return words[-1] if words else ""


def is_buffer(name: str, shape: Sequence[int]) -> bool:
    """Say whether a tensor is computed, not learned, by its name: rotary tables, masks, slopes, GPT-2's `attn.bias`."""
    last = name.rpartition(".")[2]
    return bool(set(_words(last)) & _BUFFERS) or (last == "bias" and len(shape) > 1)


def guesses(template: Template, roles: Collection[str], leaves: Mapping[str, Shape]) -> list[Guess]:
    """Return what the name of a weight says that it may be; nothing where it says nothing.

    roles: those of the model. leaves: the shapes of the file's weights by `leaf`, for conventions of whole files.
    """
    found = _inside(template, roles, leaves) if template.layered else _outside(template)
    return [guess for guess in found if set(guess.roles) <= set(roles)]


def rotary_convention(leaves: Collection[str]) -> tuple[bool | None, str]:
    """Return whether the names say that rotary pairs are neighbours (True) or half a head apart, and why."""
    if {"q_b_proj", "wq_b", "kv_a_proj_with_mqa", "wkv_a"} & set(leaves):
        return True, "rotary pairs are neighbours, as in DeepSeek's own weights"
    half = {"q_proj", "k_proj"} <= set(leaves) or "qkv_proj" in leaves or "query_key_value" in leaves
    if half and "wq" not in leaves:
        return False, "rotary pairs are half a head apart, as in Transformers, whose names these are"
    if {"wq", "wk"} <= set(leaves) and not half:
        return True, "rotary pairs are neighbours, as in Meta's Llama, whose names these are"
    return None, ""


def gelu_convention(names: Collection[str], transposed: bool) -> tuple[str, str]:
    """Return which GELU a GPT-2 with these names computes (`gelu_new` or `gelu`), and why; empty where unknown.

    nanoGPT has GPT-2's names, but torch's linear layers ([out, in]) and torch's own GELU.
    """
    if transposed or not any(re.search(r"(^|\.)h\.\d+\.mlp\.c_fc\.weight$", name) for name in names):
        return "", ""
    return (
        "gelu",
        "GELU is exact (architecture.config.activation=gelu), as in nanoGPT, whose names and layout these are",
    )


def _inside(template: Template, roles: Collection[str], leaves: Mapping[str, Shape]) -> list[Guess]:
    words = _words(template.name)
    last = leaf(template)
    if _is_norm(_words(last)):
        return _norms(_words(last), words)
    in_attention, in_feed_forward = bool(_ATTENTION & set(words)), bool(_FEED_FORWARD & set(words))
    for key in _keys(last):
        if found := _attention(key, last) or _latent(key):
            return found
        if key in _UP:
            return [Guess(("up",))]
        if key in _DOWN:
            return [Guess(("down",))]
        if key in ("gate", "wgate", "wg", "gating"):
            return [Guess(("gate",))]
        if key in ("gateup", "wgateup"):
            return [Guess(("gate", "up"), why=f"{last}: gate first, as the name says")]
        if key in ("upgate", "wupgate"):
            return [Guess(("up", "gate"), why=f"{last}: up first, as the name says")]
        if key in _OUT:
            either = [Guess(("o",))] * (not in_feed_forward) + [Guess(("down",))] * (not in_attention)
            return either or [Guess(("o",)), Guess(("down",))]
    if (numbered := _NUMBERED.fullmatch(last.lower())) and not in_attention:
        return _numbered(numbered[1], numbered[2], roles, leaves)
    if in_feed_forward and not in_attention:
        return [Guess(("gate",)), Guess(("up",)), Guess(("down",)), Guess(("gate", "up")), Guess(("up", "gate"))]
    return []


def _attention(key: str, last: str) -> list[Guess]:
    for role, names in _SINGLE.items():
        if key in names:
            return [Guess((role,))]
    qkv, kv = ("q", "k", "v"), ("k", "v")
    if key == "querykeyvalue":
        return [Guess(qkv, True, f"{last}: a head of each in turn, as in GPT-NeoX")]
    if last in ("c_attn", "in_proj", "qkv", "qkv_proj", "Wqkv"):
        return [Guess(qkv, why=f"{last}: all queries, then keys, then values, as in GPT-2 and torch")]
    if key in ("qkv", "wqkv", "cattn", "inproj"):
        return [Guess(qkv), Guess(qkv, True)]
    if key in ("kv", "wkv", "keyvalue"):
        return [Guess(kv), Guess(kv, True)]
    return []


def _latent(key: str) -> list[Guess]:
    if key in _KV_DOWN:
        return [Guess(("kv_a", "k_rope")), Guess(("kv_a",))]
    if key in _KV_UP:
        return [Guess(("k_b", "v_b"), True, "keys and values: a head of each in turn, as in DeepSeek")]
    return []


def _numbered(word: str, number: str, roles: Collection[str], leaves: Mapping[str, Shape]) -> list[Guess]:
    if "gate" not in roles:  # two matrices, in the order in which they are applied
        first = "0" if f"{word}0" in leaves or f"{word}_0" in leaves else "1"
        return [Guess(("up",) if number == first else ("down",))]
    w1, w2, w3 = (leaves.get(f"w{n}") for n in "123")
    meta = {"wq", "wq_a"} & leaves.keys() and w1 and w1 == w3 and w1 != w2
    if meta and word == "w" and number in "123":
        role = {"1": "gate", "2": "down", "3": "up"}[number]
        return [Guess((role,), why=f"w{number}: {role}, as in Meta's Llama, whose names these are")]
    return [Guess(("gate",)), Guess(("up",)), Guess(("down",)), Guess(("gate", "up")), Guess(("up", "gate"))]


def _norms(last: list[str], words: list[str]) -> list[Guess]:
    if last[0] in ("q", "k", "kv"):
        return [Guess((f"{last[0]}_a_norm",))]
    said = set(last) if set(last) & _SCOPE else set(words)
    numbers = {word for word in last if word.isdecimal()} or {word[-1] for word in last if word[-1].isdecimal()}
    attention, feed_forward = Guess(("attention_norm",)), Guess(("feed_forward_norm",))
    if said & _FEED_FORWARD or "2" in numbers or ("post" in last and said & _ATTENTION):
        return [feed_forward]
    if said & _ATTENTION or "1" in numbers or "input" in last:
        return [attention]
    return [attention, feed_forward]


def _outside(template: Template) -> list[Guess]:
    words = _words(template.base)
    if _is_norm(words[-1:]) or _is_norm(words[-2:]):
        return [Guess(("norm",))]
    said = set(words) | {"".join(words[-2:])}
    if said & {"pos", "position", "positions", "positional", "wpe"}:
        return [Guess(("positions",))]
    if said & {"head", "unembed", "unembedding", "embedout", "logits"}:
        return [Guess(("lm_head",))]
    if said & {"emb", "embed", "embd", "embedding", "embeddings", "wte"}:
        return [Guess(("embedding",))]
    if words[-1] in ("output", "out", "classifier", "decoder", "generator"):
        return [Guess(("lm_head",))]
    return []


def _is_norm(words: Iterable[str]) -> bool:
    return any(re.fullmatch(r"(layer|rms|l)?norm\d?|norms|ln[\df]?|rms\d?", word) for word in words)


def _keys(last: str) -> list[str]:
    """Return the spellings of a word to look up: whole, without filler, and without its module's name in front."""
    words = _words(last)
    without = [word for word in words if word not in _FILLER]
    unscoped = [word for word in without if word not in _SCOPE]
    bare = [word for word in unscoped if word not in ("w", "c")]
    return ["".join(each) for each in (words, without, unscoped, bare) if each]


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name)
    return [word.lower() for word in re.split(r"[._*#\s]+", spaced) if word]
