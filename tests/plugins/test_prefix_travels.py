"""What a text begins with is the weights' own rule: whatever is made of a model is scored as the model is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilbench.checkpoints.folder import checkpoints, read_info
from tilbench.kinds.requests import Likelihood
from tilbench.publish.export import export
from tilbench.publish.merge import merge
from tilbench.training.branch import resolve_branch
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_import.plan import Asked, plan_import, write_import

from .bases import REGISTRY, answers, published, tuned

SPEC = "auto-g-nano-1b:tiny"
MODELS = [(name, begun) for name in ("gpt2", "llama") for begun in (True, False)]


@pytest.fixture(scope="module", params=MODELS, ids=lambda each: f"{each[0]}-{'begun' if each[1] else 'documents-only'}")
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, begun = request.param
    return published(tmp_path_factory.mktemp("base") / name, name, begun=begun)


def assert_scored_alike(one: Path | str, other: Path | str) -> None:
    for ours, theirs in zip(answers(one), answers(other), strict=True):
        assert isinstance(ours, Likelihood)
        assert isinstance(theirs, Likelihood)
        assert ours.tokens == theirs.tokens
        assert ours.logprob == pytest.approx(theirs.logprob, rel=1e-5)


def test_an_untrained_adapter_scores_exactly_what_its_base_scores(base: Path, tmp_path: Path) -> None:
    tuned(base, tmp_path / "run")
    assert_scored_alike(tmp_path / "run" / "step-00000000", base)


def test_so_do_fine_tuning_of_all_weights_and_training_on_text(base: Path, tmp_path: Path) -> None:
    tuned(base, tmp_path / "whole", adapter=False)
    assert_scored_alike(tmp_path / "whole" / "step-00000000", base)
    text = ("recipe.trainer=pretrain", "recipe.chat=null", "data=[{dataset: text/en/train}]")
    tuned(base, tmp_path / "text", *text, adapter=False)
    assert_scored_alike(tmp_path / "text" / "step-00000000", base)


def test_and_what_is_merged_exported_imported_and_tuned_again(base: Path, tmp_path: Path) -> None:
    tuned(base, tmp_path / "run")
    first = tmp_path / "run" / "step-00000000"
    whole = merge(str(first), tmp_path / "merged", REGISTRY)
    assert_scored_alike(whole, base)
    export(str(first), "transformers", tmp_path / "exported", REGISTRY)
    assert_scored_alike(tmp_path / "exported", base)
    write_import(plan_import(str(tmp_path / "exported"), REGISTRY, Asked()), tmp_path / "imported")
    assert_scored_alike(tmp_path / "imported", base)
    again = tuned(base, tmp_path / "again", f"base={whole}")
    rules = {(info.prefix, info.prefix_contexts) for info in map(read_info, (first, whole, again))}
    assert len(rules) == 1


@pytest.mark.parametrize("contexts", [True, False])
def test_and_a_branch(tmp_path: Path, contexts: bool) -> None:
    base = published(tmp_path / "base", "llama", begun=contexts)
    write_import(plan_import(str(base), REGISTRY, Asked()), tmp_path / "imported")
    info = read_info(tmp_path / "imported")
    config = info.architecture.model_dump_json()
    given = [
        f"base={tmp_path / 'imported'}",
        f"architecture={config}",
        *(f"tokenizer.family={info.tokenizer}", "tokenizer.options={}"),
        *("recipe.steps=4", "recipe.checkpoint_every=2", "recipe.schedule={name: constant, warmup: 1}"),
        *("recipe.sequence_length=64", "recipe.batch_size=2"),
    ]
    train(resolve_training(SPEC, REGISTRY, None, given, "cpu"), REGISTRY, tmp_path / "run", progress=False)
    branch = resolve_branch(f"{tmp_path / 'run'}@2", REGISTRY, None, decay=1, to=0.0)
    train(branch, REGISTRY, tmp_path / "branch", progress=False)
    made = [*checkpoints(tmp_path / "run"), *checkpoints(tmp_path / "branch")]
    assert len(made) >= 4
    assert {(each.prefix, each.prefix_contexts) for each in map(read_info, made)} == {(1, contexts)}
