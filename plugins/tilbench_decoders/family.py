"""What the four architectures have in common: initialisation, and build, save and load."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from tilbench.checkpoints.adapters import ADAPTER, add_adapter, is_adapted, load_adapter, merged, save_adapted
from tilbench.checkpoints.budget import parameter_budget
from tilbench.checkpoints.weights import load_weights, save_weights
from tilbench.config.model import Adapter
from tilbench.kinds.architecture import ParameterCount
from tilbench_decoders.config import DecoderConfig
from tilbench_decoders.decoder import Decoder

__all__ = ["DecoderFamily", "initialise"]

ConfigT = TypeVar("ConfigT", bound=DecoderConfig)


@torch.no_grad()
def initialise(module: nn.Module, *, layers: int, initializer_range: float) -> None:
    """Set every parameter of a decoder afresh, in the order of their names; uses the global generator.

    | parameter                                | value                                      |
    |------------------------------------------|--------------------------------------------|
    | token and position embeddings, lm_head   | N(0, initializer_range²)                   |
    | o_proj and down_proj weights             | N(0, (initializer_range / √(2·layers))²)   |
    | every other matrix                       | N(0, initializer_range²)                   |
    | norm weights                             | 1                                          |
    | biases                                   | 0                                          |

    The two matrices that write into the residual stream shrink with depth (Radford et al. 2019).
    """
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.normal_(0.0, initializer_range / math.sqrt(2 * layers))
        else:
            parameter.normal_(0.0, initializer_range)


class DecoderFamily(ABC, Generic[ConfigT]):
    """An architecture (`tilbench.kinds.architecture`) that only has to say how it is assembled."""

    Config: ClassVar[type[Any]]

    @abstractmethod
    def parameters(self, config: ConfigT) -> int:
        """Return the number of parameters by formula, tied weights counted once."""

    @abstractmethod
    def assemble(self, config: ConfigT) -> Decoder:
        """Return the decoder put together from its parts, its weights not yet meaningful."""

    def build(self, config: ConfigT) -> Decoder:
        """Return a freshly initialised decoder on the default device and in the default dtype.

        Under `torch.device("meta")` nothing is allocated.
        """
        device = torch.get_default_device()
        with torch.device("meta"):  # so that torch's own initialisation, which is overwritten, costs nothing
            module = self.assemble(config)
        if device.type != "meta":
            module.to_empty(device=device)
            initialise(module, layers=config.num_layers, initializer_range=config.initializer_range)
        return module

    def budget(self, config: ConfigT) -> Mapping[str, ParameterCount]:
        """Return where the parameters are; they sum to `parameters(config)`."""
        with torch.device("meta"):
            return parameter_budget(self.assemble(config), config.vocab_size)

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write `model.safetensors` into an existing folder; of an adapted decoder, peft's files beside its base."""
        if is_adapted(module):
            save_adapted(module, folder)
        else:
            save_weights(module, folder)

    def adapt(self, module: nn.Module, adapter: Adapter) -> nn.Module:
        """Return the decoder with a low-rank adapter to train on its frozen weights."""
        return add_adapter(module, adapter)

    def merge(self, config: ConfigT, folder: Path, out: Path, *, dtype: torch.dtype) -> None:
        """Write the decoder saved in `folder` into `out`, its adapter added into its weights."""
        save_weights(merged(self.load(config, folder, dtype=dtype)), out)

    def load(self, config: ConfigT, folder: Path, *, dtype: torch.dtype | None = None) -> Decoder:
        """Return the decoder saved in `folder`, on CPU, in `dtype` or as stored.

        Raises CheckpointError that names missing, extra or misshapen weights.
        """
        with torch.device("meta"):
            module = self.assemble(config)
        load_weights(module, folder, dtype=dtype)
        if (folder / ADAPTER).is_file():
            load_adapter(module, folder)
        return module
