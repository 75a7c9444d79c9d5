"""ALiBi (Press et al. 2022) with grouped queries: a linear distance penalty, RMSNorm, SwiGLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from tilbench.kinds.weight_layout import Slot
from tilbench.paths import package_file
from tilbench_decoders.config import GroupedConfig
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.grouped import grouped_blocks, grouped_norm, grouped_parameters
from tilbench_decoders.layers.positions import LinearBias
from tilbench_decoders.transformers_config import alibi_config
from tilbench_decoders.transformers_map import from_transformers, llama_links, to_transformers
from tilbench_decoders.weight_layout import grouped

__all__ = ["Alibi", "AlibiConfig"]

_CODE = "modeling_alibi"


class AlibiConfig(GroupedConfig):
    """Sizes of an ALiBi decoder. `max_length` is the trained context, not a limit."""


class Alibi(DecoderFamily[AlibiConfig]):
    """The architecture `alibi`."""

    Config = AlibiConfig
    transformers_type: ClassVar[str] = "tilbench_alibi"

    def parameters(self, config: AlibiConfig) -> int:
        """Return the number of parameters by formula, tied weights counted once: the penalty has none."""
        return grouped_parameters(config)

    def parts(self, config: AlibiConfig) -> list[Slot]:
        """Return what its weights are made of."""
        return grouped(config, rotary=False)

    def read_transformers(
        self, fields: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[AlibiConfig, dict[str, Tensor]]:
        """Return config and weights from those of a Transformers folder, its weights named as Llama's.

        Raises Unsupported by the name of a field that is not ours to honour, CheckpointError for missing weights.
        """
        config = AlibiConfig(**alibi_config(fields))
        return config, from_transformers(llama_links(config), state)

    def assemble(self, config: AlibiConfig) -> Decoder:
        """Return the decoder put together from its parts."""
        return Decoder(config, grouped_blocks(config), grouped_norm(config), linear=LinearBias(config.num_heads))

    def to_transformers(self, config: AlibiConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the equal AlibiForCausalLM, whose parts are named as Llama's."""
        return to_transformers(llama_links(config), state)

    def from_transformers(self, config: AlibiConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return our weights from those of an AlibiForCausalLM. Raises CheckpointError for missing ones."""
        return from_transformers(llama_links(config), state)

    def transformers_config(self, config: AlibiConfig) -> dict[str, Any]:
        """Return the fields of the equal AlibiConfig of `transformers_code`: Transformers has no such class."""
        return {
            "architectures": ["AlibiForCausalLM"],
            "model_type": "tilbench_alibi",
            "auto_map": {
                "AutoConfig": f"{_CODE}.AlibiConfig",
                "AutoModel": f"{_CODE}.AlibiModel",
                "AutoModelForCausalLM": f"{_CODE}.AlibiForCausalLM",
            },
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_width,
            "max_position_embeddings": config.max_length,
            "rms_norm_eps": config.norm_eps,
            "bias": config.bias,
            "dropout": config.dropout,
            "initializer_range": config.initializer_range,
            "tie_word_embeddings": config.tie_embeddings,
        }

    def transformers_code(self) -> Mapping[str, str]:
        """Return the text of the Python file, by its name, that the exported model is loaded with."""
        path = package_file("tilbench_decoders", f"{_CODE}.py")
        return {path.name: path.read_text(encoding="utf-8")}
