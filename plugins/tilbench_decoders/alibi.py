"""ALiBi (Press et al. 2022) with grouped queries: a linear distance penalty, RMSNorm, SwiGLU."""

from __future__ import annotations

from tilbench.kinds.parts import Slot
from tilbench_decoders.config import GroupedConfig
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.grouped import grouped_blocks, grouped_norm, grouped_parameters
from tilbench_decoders.parts import grouped
from tilbench_decoders.positions import LinearBias

__all__ = ["Alibi", "AlibiConfig"]


class AlibiConfig(GroupedConfig):
    """Sizes of an ALiBi decoder. `max_length` is the trained context, not a limit."""


class Alibi(DecoderFamily[AlibiConfig]):
    """The architecture `alibi`."""

    Config = AlibiConfig

    def parameters(self, config: AlibiConfig) -> int:
        """Return the number of parameters by formula, tied weights counted once: the penalty has none."""
        return grouped_parameters(config)

    def parts(self, config: AlibiConfig) -> list[Slot]:
        """Return what its weights are made of."""
        return grouped(config, rotary=False)

    def assemble(self, config: AlibiConfig) -> Decoder:
        """Return the decoder put together from its parts."""
        return Decoder(config, grouped_blocks(config), grouped_norm(config), linear=LinearBias(config.num_heads))
