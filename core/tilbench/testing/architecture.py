"""What every architecture must do, whatever is inside it."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pydantic
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilbench.errors import CheckpointError, TilbenchError
from tilbench.kinds.architecture import Architecture, Decoder
from tilbench.kinds.capabilities.architecture import StatesBudget
from tilbench.testing.base import NotApplicable, require
from tilbench.testing.memory import MemoryChecks
from tilbench.testing.modules import Lookups, delta, require_equal, token_ids, variations

__all__ = ["ArchitectureConformance"]


class ArchitectureConformance(MemoryChecks):
    """Checks of an architecture, in fp32 on the CPU, at a tiny size.

    subject: the architecture. config: a Config, or a mapping of its fields; by default the architecture's own
    `example`, a dict of fields. tolerance: largest difference between two ways to compute the same thing.
    """

    def test_interface(self) -> None:
        """The config is closed, the module is a decoder of the config's sizes, its logits are finite."""
        config = self.sizes()
        require(isinstance(self.subject, Architecture), "it lacks Config, parameters, build, save or load")
        try:
            self.subject.Config(**config.model_dump(), no_such_field=1)
        except (pydantic.ValidationError, TilbenchError):
            pass
        else:
            require(False, "Config accepts a field that does not exist; set extra='forbid'")
        module: Any = self.fresh()
        require(isinstance(module, nn.Module), f"build returns {type(module).__name__}, not an nn.Module")
        require(isinstance(module, Decoder), "the module lacks hidden, project, new_cache or forward")
        for name in ("vocab_size", "max_length"):
            found, wanted = getattr(module, name), getattr(config, name)
            require(found == wanted, f"the module's {name} is {found} and the config's {wanted}")
        ids = token_ids(config)
        logits = module.eval()(ids)
        require(logits.shape == (*ids.shape, config.vocab_size), f"logits are {list(logits.shape)}, not [B, T, V]")
        require(bool(logits.isfinite().all()), "logits of a fresh module are not finite")
        require_equal(module.project(module.hidden(ids)), logits, self.tolerance, "forward and project(hidden)")

    def test_parameter_count(self) -> None:
        """`parameters` is what is built, at every size that can be doubled; building on meta allocates nothing."""
        for what, config in variations(self.subject, self.sizes()):
            with torch.device("meta"):
                module = self.subject.build(config)
            require(all(p.is_meta for p in module.parameters()), "build allocates under torch.device('meta')")
            built, formula = sum(p.numel() for p in module.parameters()), self.subject.parameters(config)
            require(built == formula, f"{what}: the formula gives {formula:,} parameters, {built:,} are built")
            if isinstance(self.subject, StatesBudget):
                parts = sum(part.parameters for part in self.subject.budget(config).values())
                require(parts == built, f"{what}: the parts of the budget sum to {parts:,}, {built:,} are built")

    def test_causal_by_perturbation(self) -> None:
        """Changing a token changes its own state and no state before it."""
        module, config = self.decoder(), self.sizes()
        ids = token_ids(config, rows=1)
        with torch.no_grad():
            before = module.hidden(ids)
            for place in range(ids.shape[1]):
                changed = ids.clone()
                changed[0, place] = (ids[0, place] + 1) % config.vocab_size
                after = module.hidden(changed)
                leak = delta(after[:, :place], before[:, :place])
                require(leak <= 1e-6, f"the token at {place} changes a state before it by {leak:.2g}")
                moved = float((after[:, place:] - before[:, place:]).abs().amax())
                require(moved > 1e-6, f"the token at {place} changes no state at or after it")

    def test_causal_by_gradient(self) -> None:
        """No state has a gradient in the embedding of a later token."""
        module, ids = self.decoder(), token_ids(self.sizes(), rows=1)
        for place in sorted({0, ids.shape[1] // 2, ids.shape[1] - 2}):
            with Lookups(ids) as lookups:
                hidden = module.hidden(ids)
            if not lookups.found:
                raise NotApplicable("the embeddings of the ids could not be observed; see causal_by_perturbation")
            weights = torch.linspace(1.0, 2.0, hidden.shape[-1])  # a plain sum of normalised states is constant
            (hidden[:, : place + 1] * weights).sum().backward()
            grads = [looked.grad for looked in lookups.found if looked.grad is not None]
            require(grads, "the states have no gradient in the embeddings")
            own = max(float(grad[:, : place + 1].abs().max()) for grad in grads)
            later = max(float(grad[:, place + 1 :].abs().max()) for grad in grads)
            require(later <= 1e-6 * own, f"states up to {place} have a gradient {later:.2g} in a later embedding")

    def test_initial_loss(self) -> None:
        """A fresh module is about as wise as a uniform guess: its loss is within a tenth of ln V."""
        config = self.sizes()
        ids = token_ids(config, rows=8, length=config.max_length)
        with torch.no_grad():
            loss, uniform = float(_loss(self.fresh().eval(), ids)), math.log(config.vocab_size)
        near = abs(loss - uniform) <= 0.1 * uniform
        require(near, f"the loss of a fresh module is {loss:.3f}, and ln V is {uniform:.3f}")

    def test_gradient_in_every_parameter(self) -> None:
        """Every parameter that is to be trained has a gradient that is finite and not zero."""
        module, config = self.decoder(), self.sizes()
        _backward(_loss(module, token_ids(config, rows=8, length=config.max_length)))
        trained = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
        dead = [name for name, grad in trained.items() if grad is None or not grad.any()]
        require(not dead, f"no gradient in {', '.join(dead[:3])}{' …' if len(dead) > 3 else ''}")
        wild = [name for name, grad in trained.items() if grad is not None and not grad.isfinite().all()]
        require(not wild, f"the gradient of {', '.join(wild[:3])} is not finite")

    def test_accumulation_equals_large_batch(self) -> None:
        """A batch of four gives the gradients of its two halves, and no row depends on another."""
        module, ids = self.decoder(), token_ids(self.sizes(), rows=4)
        together = module.hidden(ids).detach()
        alone = torch.cat([module.hidden(row[None]).detach() for row in ids])
        require_equal(together, alone, self.tolerance, "a row in a batch and alone")
        whole, halves = _gradients(module, [ids]), _gradients(module, [ids[:2], ids[2:]])
        for name, grad in whole.items():
            require_equal(halves[name], grad, self.tolerance, f"gradient of {name}, accumulated and at once")

    def test_save_and_load(self) -> None:
        """Saved and loaded weights give the same logits; a folder without weights is a CheckpointError."""
        module, config, ids = self.decoder(), self.sizes(), token_ids(self.sizes())
        with tempfile.TemporaryDirectory() as name, torch.no_grad():
            folder = Path(name)
            self.subject.save(module, folder)
            loaded = self.subject.load(config, folder).eval()
            require(torch.equal(loaded(ids), module(ids)), "the logits after save and load are others")
            (folder / "empty").mkdir()
            try:
                self.subject.load(config, folder / "empty")
            except CheckpointError:
                return
        require(False, "loading from a folder without weights raises no CheckpointError")

    def test_wrapper_prefix_is_stripped(self) -> None:
        """Weights saved under torch.compile, whose names begin with `_orig_mod.`, load all the same."""
        module, config, ids = self.decoder(), self.sizes(), token_ids(self.sizes())
        with tempfile.TemporaryDirectory() as name, torch.no_grad():
            folder = Path(name)
            self.subject.save(_Wrapped(module), folder)
            found = self.subject.load(config, folder).eval()
            require(torch.equal(found(ids), module(ids)), "a wrapped module is saved or loaded as another one")
            if not _prefix_names(folder):
                raise NotApplicable("it does not save safetensors, whose names could be given the prefix")
            found = self.subject.load(config, folder).eval()
            require(torch.equal(found(ids), module(ids)), "weights named _orig_mod.… are loaded as other ones")

    def test_dtype_moves(self) -> None:
        """In bfloat16, loaded so or cast, it computes in bfloat16 what it computes in fp32."""
        config, ids = self.sizes(), token_ids(self.sizes())
        module: Any = self.fresh().eval()
        with tempfile.TemporaryDirectory() as name, torch.no_grad():
            self.subject.save(module, Path(name))
            loaded: Any = self.subject.load(config, Path(name), dtype=torch.bfloat16).eval()
            wanted = module.hidden(ids)
            for what, half in (("loaded with", loaded), ("cast to", module.to(torch.bfloat16))):
                others = {str(p.dtype) for p in half.parameters() if p.is_floating_point()} - {"torch.bfloat16"}
                require(not others, f"{what} dtype bfloat16, it has {', '.join(others)} weights")
                states = half.hidden(ids)
                require(states.dtype == torch.bfloat16, f"{what} dtype bfloat16, its states are {states.dtype}")
                error = float((states.float() - wanted).abs().mean() / wanted.abs().mean())
                require(error <= 0.1, f"{what} dtype bfloat16, its states differ from fp32 by {error:.0%}")

    def test_device_moves(self) -> None:
        """On an accelerator it gives the CPU's logits, with and without a cache."""
        device = _accelerator()
        if device is None:
            raise NotApplicable("no accelerator on this machine")
        module, ids = self.decoder(), token_ids(self.sizes())
        with torch.no_grad():
            wanted = module.hidden(ids)
            module.to(device)
            require_equal(module.hidden(ids.to(device)).cpu(), wanted, 1e-3, f"states on {device} and on the CPU")
            cache = module.new_cache(len(ids), ids.shape[1])
            found = torch.cat([module.hidden(part.to(device), cache=cache) for part in torch.split(ids, 5, dim=1)], 1)
            require_equal(found.cpu(), wanted, 1e-3, f"cached states on {device} and on the CPU")

    def test_overfits_one_batch(self) -> None:
        """At most 150 steps of AdamW bring the loss of one batch under a quarter of ln V."""
        config = self.sizes()
        ids, goal = token_ids(config, rows=2), 0.25 * math.log(config.vocab_size)
        best = math.inf
        for rate in self.learning_rates:
            module = self.fresh().train()
            optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], rate)
            for _ in range(150):
                loss = _loss(module, ids)
                best = min(best, float(loss.detach()))
                if best <= goal:
                    return
                optimizer.zero_grad()
                _backward(loss)
                optimizer.step()
        require(False, f"after 150 steps on one batch the loss is still {best:.2f}")

    learning_rates: ClassVar[tuple[float, ...]] = (0.01, 0.003)


def _loss(module: Any, ids: Tensor) -> Tensor:
    return F.cross_entropy(module(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def _gradients(module: nn.Module, batches: list[Tensor]) -> dict[str, Tensor]:
    module.zero_grad()
    for batch in batches:
        _backward(_loss(module, batch) / len(batches))
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def _accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


class _Wrapped(nn.Module):
    """What torch.compile makes of a module, without compiling: names in its state begin with `_orig_mod.`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module

    def __getattr__(self, name: str) -> Any:
        own = super().__getattr__
        return own(name) if name == "_orig_mod" else getattr(own("_orig_mod"), name)

    def forward(self, ids: Tensor) -> Any:
        return self._orig_mod(ids)


def _prefix_names(folder: Path) -> bool:
    """Put `_orig_mod.` before every name in the safetensors files of a folder; False where there are none."""
    from safetensors.torch import load_file, save_file

    files = list(folder.glob("*.safetensors"))
    for file in files:
        state = {f"_orig_mod.{name}": tensor.clone() for name, tensor in load_file(file).items()}
        save_file(state, file, metadata={"format": "pt"})
    return bool(files)
