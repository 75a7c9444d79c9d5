"""ALiBi (Press et al. 2022) with grouped queries: a linear distance penalty, RMSNorm, SwiGLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from tilbench.kinds.parts import Slot
from tilbench_decoders.config import GroupedConfig
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.grouped import grouped_blocks, grouped_norm, grouped_parameters
from tilbench_decoders.parts import grouped
from tilbench_decoders.positions import LinearBias
from tilbench_decoders.transformers_config import alibi_config
from tilbench_decoders.transformers_map import from_transformers, llama_links

__all__ = ["Alibi", "AlibiConfig"]


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
