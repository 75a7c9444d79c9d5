"""Model specs: what a document says of a model, in a form that can be built, trained and compared."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tilbench.config.base import Schema

__all__ = [
    "Adapter",
    "ArchitectureRef",
    "Data",
    "GenerationSettings",
    "ModelSpec",
    "Optimizer",
    "Precision",
    "Recipe",
    "Reported",
    "Schedule",
    "TokenizerRef",
]


Precision = Literal["fp32", "bf16", "fp16"]
"""What a model computes in; weights and optimizer state stay in fp32."""


class ArchitectureRef(Schema):
    """A registered architecture and its config."""

    name: str
    config: dict[str, Any] = {}


class TokenizerRef(Schema):
    """A tokenizer family and how to get one of it: by loading `reference`, else by training with `options`."""

    family: str
    reference: str = ""
    options: dict[str, Any] = {}


class Data(Schema):
    """One source of the training mix."""

    dataset: str
    """Registered name, path or data-directory id of documents."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the training tokens, relative to the other sources."""
    heldout: str = ""
    """Documents for validation; never trained on."""
    tokens: int | None = None
    """How many tokens the document says were used."""


class Optimizer(Schema):
    """AdamW with decoupled weight decay on parameters of two or more dimensions (Loshchilov & Hutter, 2019)."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""


class Schedule(Schema):
    """How the learning rate moves over the steps."""

    name: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: int = Field(default=0, ge=0)
    """Steps of linear warm-up."""
    decay: float = Field(default=0.3, ge=0, le=1)
    """wsd: share of the steps in the final linear decay."""
    final: float = Field(default=0.0, ge=0)
    """Learning rate at the last step, as a share of the highest."""


class Adapter(Schema):
    """A low-rank adapter on frozen weights (Hu et al., LoRA, 2021), in the terms of `peft`."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules that get an adapter."""
    train_whole: list[str] = []
    """Modules trained whole and saved with the adapter (peft's `modules_to_save`)."""
    quantization: Literal["none", "nf4"] = "none"


class Recipe(Schema):
    """How to train."""

    trainer: str = "pretrain"
    steps: int = Field(ge=1)
    """Optimizer steps."""
    sequence_length: int = Field(ge=2)
    """Tokens a sequence."""
    batch_size: int = Field(ge=1)
    """Sequences in one forward pass."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes a step."""
    devices: int = Field(default=1, ge=1)
    """Accelerators, each with its own `batch_size × accumulation` sequences a step."""
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    precision: Precision = "fp32"
    seed: int = 0
    mixing: Literal["weighted", "source_balanced", "interleaved"] = "weighted"
    packing: Literal["packed", "windows"] = "packed"
    """packed: documents laid end to end, each token once an epoch; windows: random windows of the same stream."""
    adapter: Adapter | None = None
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0 keeps the first and the last only."""
    keep: int = Field(default=3, ge=1)
    """Checkpoints kept besides the first and the last."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between validations; 0 validates at the end only."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step sees, over all devices."""
        return self.sequence_length * self.batch_size * self.accumulation * self.devices

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.schedule.warmup >= self.steps and self.steps > 1:
            raise ValueError(f"warm-up takes {self.schedule.warmup} of {self.steps} steps; lower schedule.warmup")
        return self


class GenerationSettings(Schema):
    """Decoding settings that a document recommends."""

    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    no_repeat_ngram: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=64, ge=1)


class Reported(Schema):
    """A figure that a document prints. It is never mixed with a measured one."""

    value: float
    metric: str
    """Such as bpb, accuracy, loss, perplexity, tokens_per_second."""
    on: str = ""
    """What it was measured on, in the document's words."""
    stderr: float | None = None
    n: int | None = None
    unit: str = ""
    note: str = ""


class ModelSpec(Schema):
    """An architecture, tokenizer, data mix, recipe and hardware, with the results a document reports."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    title: str
    summary: str = ""
    document: str = ""
    """Where the figures come from."""
    licence: str = ""
    languages: list[str] = []
    architecture: ArchitectureRef
    tokenizer: TokenizerRef
    data: list[Data] = []
    recipe: Recipe | None = None
    hardware: str = ""
    generation: GenerationSettings | None = None
    parameters: int | None = None
    """Parameters the document prints, or that follow from it."""
    base: str = ""
    """Reference of the published model that an adapter belongs to."""
    adapter: str = ""
    """Reference of the published adapter."""
    reported: list[Reported] = []
    notes: list[str] = []

    @field_validator("data", mode="after")
    @classmethod
    def _weights_are_not_all_zero(cls, data: list[Data]) -> list[Data]:
        if data and not sum(source.weight for source in data):
            raise ValueError("the weights of the mix sum to zero; give one source a weight")
        return data
