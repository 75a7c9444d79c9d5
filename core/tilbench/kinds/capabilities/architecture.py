"""What an architecture may offer: adapters, other starts, budgets, and the formats of Transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from tilbench.kinds.architecture import DecoderConfig, ParameterCount
from tilbench.kinds.trainer import Start
from tilbench.kinds.weight_layout import Slot

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tilbench.config.model import Adapter

__all__ = [
    "Adaptable",
    "BringsCode",
    "HasExample",
    "Mergeable",
    "ReadsTransformers",
    "SavesTransformers",
    "StartsElsewhere",
    "StatesBudget",
    "StatesParts",
    "WritesTransformers",
]


@runtime_checkable
class Adaptable(Protocol):
    """Takes a low-rank adapter: a recipe may have `adapter`."""

    def adapt(self, module: nn.Module, adapter: Adapter) -> nn.Module:
        """Return the decoder with an adapter to train; its own weights are frozen. `load` reads what `save` wrote."""


@runtime_checkable
class Mergeable(Protocol):
    """Adds the adapter of a checkpoint into its weights, for `tilbench merge` and `tilbench export`."""

    def merge(self, config: Any, folder: Path, out: Path, *, dtype: torch.dtype) -> None:
        """Write the decoder saved in `folder` into `out`, its adapter added into its weights, in `dtype`."""


@runtime_checkable
class StartsElsewhere(Protocol):
    """Trains on from weights that are no checkpoint of ours, such as a Transformers folder (`base` of a spec)."""

    def origin(self, reference: str) -> Start:
        """Return what the weights at `reference` say of themselves.

        Raises CheckpointError where they cannot be read, Unsupported where training cannot start from them.
        """

    def start(self, config: Any, reference: str, *, dtype: torch.dtype, quantization: str) -> nn.Module:
        """Return the decoder at `reference`, to train on. quantization: of frozen weights, or `none`.

        Raises CheckpointError where it is another model than `config` says.
        """


@runtime_checkable
class StatesBudget(Protocol):
    """Says where its parameters are, for `tilbench show`."""

    def budget(self, config: Any) -> Mapping[str, ParameterCount]:
        """Return the parameters by component; they sum to `parameters(config)`.

        `tilbench.checkpoints.budget` makes a budget of a module.
        """


@runtime_checkable
class StatesParts(Protocol):
    """Says what its weights are made of, for `tilbench import` of foreign names and for optimizers of matrices."""

    def parts(self, config: Any) -> Sequence[Slot]:
        """Return the weights of a decoder of this config, with the parts that each is made of."""


@runtime_checkable
class ReadsTransformers(Protocol):
    """Takes over weights of a class of Transformers, for `tilbench import`."""

    transformers_type: ClassVar[str]
    """The `model_type` in the config.json that it reads."""

    def read_transformers(
        self, fields: Mapping[str, object], state: Mapping[str, Tensor]
    ) -> tuple[DecoderConfig, Mapping[str, Tensor]]:
        """Return config and state dict from the fields of a config.json and the weights by Transformers' names.

        Raises Unsupported by the name of a field that it cannot honour, CheckpointError for missing weights.
        """


@runtime_checkable
class WritesTransformers(Protocol):
    """Has an equal model in Transformers, for `tilbench export`."""

    def to_transformers(self, config: Any, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the weights by Transformers' names from a state dict of ours."""

    def transformers_config(self, config: Any) -> Mapping[str, object]:
        """Return the fields of the equal model's config.json."""


@runtime_checkable
class BringsCode(Protocol):
    """Needs Python of its own in Transformers, which has no such class."""

    def transformers_code(self) -> Mapping[str, str]:
        """Return the text of each Python file that is written beside the weights, by its name."""


@runtime_checkable
class SavesTransformers(Protocol):
    """Writes the folder that Transformers loads by itself."""

    def save_transformers(self, module: nn.Module, folder: Path) -> None:
        """Write weights and config.json into an existing folder."""


@runtime_checkable
class HasExample(Protocol):
    """Says what a tiny config has, for `tilbench check`."""

    example: ClassVar[Mapping[str, object]]
    """Fields of `Config` that make a decoder which trains in seconds."""
