"""Model specs: what a paper says of a model, in a form that can be built, trained and compared."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tilbench.config.base import Schema
from tilbench.config.decoding import MaxNewTokens, Recommended, Temperature

__all__ = [
    "Adapter",
    "ArchitectureRef",
    "Chat",
    "Data",
    "Evaluate",
    "ModelSpec",
    "Optimizer",
    "DType",
    "Precision",
    "Probe",
    "ProbedWord",
    "Recipe",
    "Reported",
    "Sample",
    "Schedule",
    "TokenizerRef",
]


DType = Literal["float32", "bfloat16", "float16"]
"""Data type of weights, by PyTorch's name."""
Precision = Literal["fp32", "bf16", "fp16"]
"""What a training computes in (autocast); weights and optimizer state stay in fp32."""


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
    validation_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows that is held out by a hash of their ids, where no `heldout` is named."""
    split: Literal["none", "blank_lines"] = "none"
    """blank_lines: each paragraph of a document is a document of its own."""
    min_characters: int = Field(default=0, ge=0)
    """Shorter documents are left out."""
    min_tokens: int = Field(default=0, ge=0)
    """Documents of fewer tokens are left out."""
    min_answer_words: int = Field(default=0, ge=0)
    """Conversations with an answer of fewer words (between white space) are left out."""
    deduplicate: bool = False
    """Of rows with the same content, the first is kept."""
    rows: int | None = Field(default=None, ge=1)
    """Rows drawn from the dataset; of a stream without an end, what is drawn at all."""
    tokens: int | None = None
    """How many tokens the paper says were used."""


class Optimizer(Schema):
    """AdamW with decoupled weight decay on parameters of two or more dimensions (Loshchilov & Hutter, 2019).

    muon: Muon (Jordan et al., 2024) for the hidden matrices, with updates of AdamW's size, and AdamW for the rest.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Muon's."""
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 leaves it as it is."""


class Schedule(Schema):
    """How the learning rate moves over the steps."""

    name: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: int = Field(default=0, ge=0)
    """Steps of linear warm-up."""
    decay: float = Field(default=0.3, ge=0, le=1)
    """wsd: share of the steps in the final decay."""
    tail: Literal["linear", "cosine", "sqrt"] = "linear"
    """wsd: how the final decay falls; sqrt is 1 - √ of the share that is done (Hägele et al., 2024)."""
    final: float = Field(default=0.0, ge=0)
    """Learning rate at the last step, as a share of the highest."""

    def decay_start(self, steps: int) -> int:
        """Return the last of `steps` updates that has the highest rate; `steps` where the rate does not fall."""
        if self.name == "constant":
            return steps
        return max(self.warmup, steps - round(self.decay * steps)) if self.name == "wsd" else self.warmup


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


class Chat(Schema):
    """How conversations become sequences."""

    template: Literal["alpaca", "chatml", "gemma", "plain"]
    """Chat template (`tilbench.text.chat`)."""
    too_long: Literal["cut", "drop"] = "cut"
    """cut: the prompt of an example that is too long loses its beginning; drop: the example is left out. An answer is
    never cut: an example whose answer alone is too long is left out either way, and both are counted."""
    packed: bool = True
    """Several examples share a sequence, and none sees another; otherwise each has its own, padded."""


class Evaluate(Schema):
    """A suite that is scored while a model trains, as `tilbench run` would score the checkpoint of that step."""

    suite: str
    """Name or YAML file."""
    tasks: list[str] = []
    """Only these tasks of it."""
    every: int = Field(default=0, ge=0)
    """Steps between; 0 scores at the end only."""
    limit: int | None = Field(default=None, ge=1)
    """Score a seeded sample of this many rows a task."""


class ProbedWord(Schema):
    """A prompt and the word expected next; neither ends or begins with a space."""

    prompt: str
    target: str


class Probe(Schema):
    """Prompts whose next word is known: its rank and its probability are logged while a model trains."""

    words: list[ProbedWord] = Field(min_length=1)
    every: int = Field(default=0, ge=0)
    """Steps between; 0 asks at the end only."""


class Sample(Schema):
    """Prompts that are continued, and the texts logged, while a model trains."""

    prompts: list[str] = Field(min_length=1)
    every: int = Field(default=0, ge=0)
    """Steps between; 0 writes at the end only."""
    max_new_tokens: MaxNewTokens = 40
    temperature: Temperature = 0.0
    """0 takes the likeliest token; otherwise each prompt draws from a random state of its own."""


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
    compile: bool = False
    """Compile the decoder with `torch.compile`."""
    activation_checkpointing: bool = False
    """Keep only the inputs of the blocks for the backward pass, and compute the rest again."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How the processes of torchrun share a step: each with all weights, or each with a part (FSDP2)."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a moving average of the weights, which is then what is validated and saved; 0 keeps none. After update t
    the decay is at most (1 + t) / (10 + t), so that the average soon forgets the weights it began with."""
    seed: int = 0
    mixing: Literal["weighted", "source_balanced", "interleaved"] = "weighted"
    packing: Literal["packed", "windows"] = "packed"
    """packed: documents laid end to end, each token once an epoch; windows: random windows of the same stream."""
    document_masks: bool = False
    """Tokens attend within their own document only, and positions restart there; otherwise over the whole row."""
    workers: int = Field(default=0, ge=0)
    """Processes that turn text into tokens; 0 takes one a core. The result does not depend on it."""
    chat: Chat | None = None
    """How conversations are written, for a trainer that learns from them."""
    adapter: Adapter | None = None
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0 keeps the first and the last only."""
    keep: int = Field(default=3, ge=1)
    """Newest checkpoints kept besides the first and the last."""
    keep_every: int = Field(default=0, ge=0)
    """Checkpoints whose step is a multiple of this are kept for good; 0 keeps none for that."""
    keep_best: Literal["", "bpb", "loss"] = ""
    """Keep the step whose validation has the lowest mean of this over the sources; it gets a checkpoint of its own."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between validations; 0 validates at the end only."""
    evaluate: Evaluate | None = None
    probe: Probe | None = None
    sample: Sample | None = None
    spike: float = Field(default=0.0, ge=0)
    """Stop at a loss of more than the median of the last 100 steps and this many times their spread (1.4826 times the
    median absolute deviation, which is the standard deviation of normal noise); 0 never does. 10 lets noise pass."""
    tensorboard: bool = False
    """Write the log as TensorBoard event files too, into `tensorboard/` in the run's folder."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step sees, over all devices."""
        return self.sequence_length * self.batch_size * self.accumulation * self.devices

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.schedule.warmup >= self.steps and self.steps > 1:
            raise ValueError(
                f"warm-up takes {self.schedule.warmup} of {self.steps} steps; lower recipe.schedule.warmup"
            )
        return self


class Reported(Schema):
    """A figure that a paper prints. It is never mixed with a measured one."""

    value: float
    metric: str
    """Such as bpb, acc, loss, perplexity, tokens_per_second."""
    on: str = ""
    """What it was measured on, in the paper's words."""
    table: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    """Which of the paper's tables it stands in; empty: its results."""
    model: str = ""
    """Whose figure it is; empty: the spec's own model."""
    step: int | None = Field(default=None, ge=0)
    """Step of the checkpoint whose figure it is."""
    stderr: float | None = None
    n: int | None = None
    unit: str = ""
    direction: Literal["lower", "higher", "none"] = "none"
    """Which way is better."""
    chance: float | None = None
    """What knowing nothing would score."""
    note: str = ""
    doubt: str = ""
    """Why it cannot be what it says, or what it contradicts."""


class ModelSpec(Schema):
    """An architecture, tokenizer, data mix, recipe and hardware, with the results that a paper reports."""

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
    generation: Recommended | None = None
    parameters: int | None = None
    """Parameters that the paper prints, or that follow from it."""
    base: str = ""
    """What training starts from, and an adapter belongs to: `RUN` or `RUN@STEP` of ours, a Transformers folder, or
    `hf:org/name@revision`. Empty: fresh weights."""
    adapter: str = ""
    """Reference of the published adapter."""
    suites: list[str] = []
    """Suites by which the paper's authors, or people who speak its languages, would score it."""
    reported: list[Reported] = []
    notes: list[str] = []

    @field_validator("data", mode="after")
    @classmethod
    def _weights_are_not_all_zero(cls, data: list[Data]) -> list[Data]:
        if data and not sum(source.weight for source in data):
            raise ValueError("the weights of the mix sum to zero; give one source a weight")
        return data
