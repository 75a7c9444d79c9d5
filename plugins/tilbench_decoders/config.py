"""What every decoder's config has; each architecture adds its own fields. Nothing here imports torch."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["DecoderConfig", "GroupedConfig"]


class DecoderConfig(BaseModel):
    """Sizes and options shared by all decoders. Unknown fields are refused and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocab_size: int = Field(gt=0, description="entries of the token embedding, padding entries included")
    max_length: int = Field(gt=0, description="tokens of context: a hard limit only for learned positions")
    hidden_size: int = Field(gt=0, description="width of the residual stream")
    num_layers: int = Field(gt=0, description="number of blocks")
    num_heads: int = Field(gt=0, description="number of query heads")
    intermediate_size: int = Field(gt=0, description="inner width of the feed-forward")
    tie_embeddings: bool = Field(default=True, description="project to logits with the token embedding")
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="in training, on the embeddings, the attention weights and both residual branches",
    )
    initializer_range: float = Field(default=0.02, gt=0.0, description="standard deviation of initial weights")
    norm_eps: float = Field(default=1e-6, gt=0.0, description="added to the variance inside every norm")


class GroupedConfig(DecoderConfig):
    """Adds grouped-query attention (Ainslie et al. 2023) and linear biases."""

    num_kv_heads: int | None = Field(
        default=None,
        gt=0,
        description="key and value heads, each shared by num_heads / num_kv_heads query heads",
    )
    head_dim: int | None = Field(default=None, gt=0, description="width of a head; hidden_size / num_heads if absent")
    bias: bool = Field(default=False, description="biases in the linear layers of attention and feed-forward")

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden_size // self.num_heads

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}; "
                "change one of them or give head_dim"
            )
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}; "
                "every key head serves the same number of query heads"
            )
        return self
