"""Our configs from a Transformers `config.json`: every field is ours, or known to change no logit, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tilbench.errors import Unsupported

__all__ = ["alibi_config", "gpt2_config", "llama_config", "mla_config"]

_SILENT = frozenset(
    {
        *(
            "_name_or_path",
            "model_type",
            "transformers_version",
            "torch_dtype",
            "dtype",
            "use_cache",
            "tokenizer_class",
        ),
        *("bos_token_id", "eos_token_id", "pad_token_id", "output_attentions", "output_hidden_states", "return_dict"),
        *("chunk_size_feed_forward", "id2label", "label2id", "task_specific_params", "is_decoder", "pretraining_tp"),
        *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
        # Older files hold generation settings too.
        *("do_sample", "max_length", "min_length", "temperature", "top_k", "top_p", "num_beams", "repetition_penalty"),
        *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    }
)
"""Fields that change no logit of a causal language model."""

_EXPERTS = frozenset(
    {
        *("moe_intermediate_size", "n_shared_experts", "n_routed_experts", "routed_scaling_factor", "n_group"),
        *("topk_group", "num_experts_per_tok", "norm_topk_prob", "moe_layer_freq", "scoring_func", "topk_method"),
        *("output_router_logits", "aux_loss_alpha", "seq_aux", "ep_size", "num_nextn_predict_layers"),
    }
)
"""Fields of DeepSeek-V3 that say nothing where every layer is dense."""


class _Fields:
    """The fields of a config, of which each is accounted for."""

    def __init__(self, fields: Mapping[str, Any], kind: str) -> None:
        self._fields = dict(fields)
        self._kind = kind
        classes = self._fields.pop("architectures", None)
        if classes and kind not in classes:
            raise Unsupported(f"config.json: architectures {classes} has no {kind}, the class whose weights are read")

    def take(self, name: str, default: object) -> Any:
        """Return a field; default: the class's own."""
        value = self._fields.pop(name, None)
        return default if value is None else value

    def nullable(self, name: str, default: object) -> Any:
        """Return a field in which null is a value of its own."""
        return self._fields.pop(name, default)

    def expect(self, name: str, *known: object, default: object = None) -> None:
        """Refuse a field of another value than the `known` ones."""
        value = self.take(name, known[0] if default is None else default)
        if value not in known:
            raise Unsupported(f"config.json: {name} is {value!r}; the {self._kind} of ours has {known[0]!r} only")

    def done(self, silent: frozenset[str] = frozenset()) -> None:
        """Refuse what is left, where it is neither off nor known to change nothing."""
        left = {name: value for name, value in self._fields.items() if value is not None and value is not False}
        for name in sorted(set(left) - _SILENT - silent):
            raise Unsupported(
                f"config.json: {name} is {left[name]!r}, which the {self._kind} of ours does not have; where it "
                "changes nothing, take it out of the file"
            )

    def theta(self) -> float:
        """Return the base of the rotary wavelengths. Refuses every scaling of them."""
        found = [self.take("rope_theta", None)]
        for name in ("rope_parameters", "rope_scaling"):
            rope = dict(self.take(name, {}))
            found.append(rope.pop("rope_theta", None))
            kind = rope.pop("rope_type", None) or rope.pop("type", None) or "default"
            if kind != "default":
                raise Unsupported(f"config.json: {name} is of type {kind!r}; rotary positions of ours are not scaled")
            if more := {key: value for key, value in rope.items() if value is not None and (key, value) != _WHOLE}:
                key = min(more)
                raise Unsupported(
                    f"config.json: {name}.{key} is {more[key]!r}, which rotary positions of ours do not have"
                )
        said = {float(each) for each in found if each is not None}
        if len(said) > 1:
            raise Unsupported(f"config.json: rope_theta is {' and '.join(map(str, sorted(said)))}; correct one of them")
        return next(iter(said), 10_000.0)


_WHOLE = ("partial_rotary_factor", 1.0)


def gpt2_config(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of our config from those of a GPT2LMHeadModel. Raises Unsupported by the name of a field."""
    fields = _Fields(theirs, "GPT2LMHeadModel")
    hidden = fields.take("n_embd", 768)
    length = fields.take("n_positions", 1024)
    fields.expect("n_ctx", length)
    fields.expect("activation_function", "gelu_new", "gelu_pytorch_tanh", "gelu")
    fields.expect("scale_attn_weights", True)
    dropout = fields.take("resid_pdrop", 0.1)
    for name in ("embd_pdrop", "attn_pdrop"):
        fields.expect(name, dropout, default=0.1)
    ours = {
        "vocab_size": fields.take("vocab_size", 50257),
        "max_length": length,
        "hidden_size": hidden,
        "num_layers": fields.take("n_layer", 12),
        "num_heads": fields.take("n_head", 12),
        "intermediate_size": fields.take("n_inner", 4 * hidden),
        "tie_embeddings": fields.take("tie_word_embeddings", True),
        "dropout": dropout,
        "activation": "gelu" if theirs.get("activation_function") == "gelu" else "gelu_new",
        "initializer_range": fields.take("initializer_range", 0.02),
        "norm_eps": fields.take("layer_norm_epsilon", 1e-5),
        "bias": True,
    }
    fields.done()
    return ours


def alibi_config(theirs: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of our config from those of an AlibiForCausalLM, the class that ALiBi decoders are exported to.

    Its Python is not run, so `auto_map` says nothing. Raises Unsupported by the name of a field.
    """
    fields = _Fields(theirs, "AlibiForCausalLM")
    heads = fields.take("num_attention_heads", 8)
    ours = {
        "vocab_size": fields.take("vocab_size", 32_000),
        "max_length": fields.take("max_position_embeddings", 512),
        "hidden_size": fields.take("hidden_size", 256),
        "num_layers": fields.take("num_hidden_layers", 12),
        "num_heads": heads,
        "num_kv_heads": fields.take("num_key_value_heads", heads),
        "head_dim": fields.take("head_dim", None),
        "intermediate_size": fields.take("intermediate_size", 688),
        "tie_embeddings": fields.take("tie_word_embeddings", True),
        "dropout": fields.take("dropout", 0.0),
        "initializer_range": fields.take("initializer_range", 0.02),
        "norm_eps": fields.take("rms_norm_eps", 1e-6),
        "bias": fields.take("bias", False),
    }
    fields.done(frozenset({"auto_map"}))
    return ours


def llama_config(theirs: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of our config from those of a LlamaForCausalLM. Raises Unsupported by the name of a field."""
    fields = _Fields(theirs, "LlamaForCausalLM")
    ours = _shared(fields, vocabulary=32_000, hidden=4096, inner=11_008, layers=32, heads=32, length=2048)
    bias = fields.take("attention_bias", False)
    fields.expect("mlp_bias", bias, default=False)
    ours |= {
        "num_kv_heads": fields.take("num_key_value_heads", ours["num_heads"]),
        "head_dim": fields.take("head_dim", None),
        "bias": bias,
    }
    fields.done()
    return ours


def mla_config(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of our config from those of a dense DeepseekV3ForCausalLM.

    Raises Unsupported by the name of a field, experts among them.
    """
    fields = _Fields(theirs, "DeepseekV3ForCausalLM")
    ours = _shared(fields, vocabulary=129_280, hidden=7168, inner=18_432, layers=61, heads=128, length=4096)
    dense, layers = fields.take("first_k_dense_replace", 3), ours["num_layers"]
    if dense < layers:
        raise Unsupported(
            f"config.json: first_k_dense_replace is {dense} of {layers} layers, so the rest have experts; the "
            "DeepseekV3ForCausalLM of ours is dense"
        )
    ours |= {
        "q_lora_rank": fields.nullable("q_lora_rank", 1536),
        "kv_lora_rank": fields.take("kv_lora_rank", 512),
        "qk_rope_head_dim": fields.take("qk_rope_head_dim", 64),
        "qk_nope_head_dim": fields.take("qk_nope_head_dim", 128),
        "v_head_dim": fields.take("v_head_dim", 128),
    }
    fields.expect("num_key_value_heads", ours["num_heads"])
    fields.expect("head_dim", ours["qk_rope_head_dim"])
    fields.expect("qk_head_dim", ours["qk_rope_head_dim"] + ours["qk_nope_head_dim"])
    fields.expect("attention_bias", False)
    fields.take("rope_interleave", True)  # how their rows are ordered, which is undone
    fields.done(_EXPERTS)
    return ours


def _shared(
    fields: _Fields, *, vocabulary: int, hidden: int, inner: int, layers: int, heads: int, length: int
) -> dict[str, Any]:
    """Return what Llama and DeepSeek have in common; the arguments are the class's defaults."""
    fields.expect("hidden_act", "silu", "swish")
    return {
        "vocab_size": fields.take("vocab_size", vocabulary),
        "max_length": fields.take("max_position_embeddings", length),
        "hidden_size": fields.take("hidden_size", hidden),
        "num_layers": fields.take("num_hidden_layers", layers),
        "num_heads": fields.take("num_attention_heads", heads),
        "intermediate_size": fields.take("intermediate_size", inner),
        "tie_embeddings": fields.take("tie_word_embeddings", False),
        "dropout": fields.take("attention_dropout", 0.0),
        "initializer_range": fields.take("initializer_range", 0.02),
        "norm_eps": fields.take("rms_norm_eps", 1e-6),
        "rope_theta": fields.theta(),
    }
