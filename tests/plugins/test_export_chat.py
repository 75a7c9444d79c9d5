"""A model tuned on conversations, exported: Transformers writes its prompts, ends its answers, and obeys a harness."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from tilbench.checkpoints.folder import find_checkpoint, read_info
from tilbench.checkpoints.generation import chat_template
from tilbench.config.model import Chat
from tilbench.data.rows import Conversation
from tilbench.publish.export import export
from tilbench.publish.merge import merge
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.scoring.encode.chat import ChatEncoder
from tilbench.text.chat import TEMPLATES, Turn
from tilbench_exporters.chat_files import JINJA
from tilbench_trainers.sft.examples import Encoder

from .bases import REGISTRY, ROWS, published, tuned

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import AutoModelForCausalLM, AutoTokenizer

TALKS: list[tuple[Turn, ...]] = [
    (("user", "Why is the sky blue?"),),
    (("system", "Be brief."), ("user", "Name a river. "), ("assistant", "The Ural."), ("user", "And a city?")),
    (("user", "Translate.\n\n### Input:\nGood day"), ("assistant", "Қайырлы күн."), ("user", "Рахмет!")),
]
END = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>", "alpaca": "</s>", "plain": "</s>"}


def test_every_template_has_its_form() -> None:
    assert JINJA.keys() == TEMPLATES.keys() == END.keys()


@pytest.fixture(
    scope="module", params=[(name, begun) for name in sorted(TEMPLATES) for begun in (True, False)], ids=str
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Return a template, the run of a model that was tuned in it, and its export."""
    name, begun = request.param
    folder = tmp_path_factory.mktemp("chat")
    base = published(folder / "base", "llama", begun=begun)
    tuned(base, folder / "run", f"recipe.chat={{template: {name}}}", "recipe.steps=1")
    export(str(folder / "run"), "transformers", folder / "exported", REGISTRY)
    return name, folder / "run", folder / "exported"


def loaded(folder: Path) -> Any:
    make: Any = AutoTokenizer
    return make.from_pretrained(folder)


def messages(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_transformers_reads_what_fine_tuning_read(exported: tuple[str, Path, Path]) -> None:
    name, run, folder = exported
    info, theirs = read_info(find_checkpoint(run)), loaded(folder)
    ours = REGISTRY.tokenizers.get(info.tokenizer).load(str(find_checkpoint(run)))
    head = [info.prefix] if info.prefix is not None and info.prefix_contexts else []
    encoder = ChatEncoder(ours, TEMPLATES[name])
    for turns in TALKS:
        asked = theirs.apply_chat_template(messages(turns), add_generation_prompt=True, return_dict=False)
        assert asked == [*head, *encoder.prompt(turns)]
    for row in ROWS:
        whole = theirs.apply_chat_template(messages(row.messages), return_dict=False)
        (example,) = (
            Encoder(ours, Chat.model_validate({"template": name}), prefix=head[0] if head else None, length=4096)
            .encode([Conversation(row.id, row.messages)])
            .found
        )
        assert whole[: len(example.ids)] == example.ids.tolist()
        assert len(whole) <= len(example.ids) + 1  # a line break after the last end


def test_it_says_what_ends_an_answer(exported: tuple[str, Path, Path]) -> None:
    name, _, folder = exported
    theirs = loaded(folder)
    assert theirs.eos_token == END[name]
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert (ends if isinstance(ends, list) else [ends]) == list(dict.fromkeys([theirs.eos_token_id, 2]))
    if name != "plain":  # which writes no mark that tells it
        assert chat_template(folder)[0] == name


def test_the_template_outlives_merging(exported: tuple[str, Path, Path], tmp_path: Path) -> None:
    name, run, folder = exported
    merged = merge(str(run), tmp_path / "merged", REGISTRY)
    assert CheckpointLoader(REGISTRY).defaults(str(merged)).template == name
    export(str(merged), "transformers", tmp_path / "again", REGISTRY)
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        assert (tmp_path / "again" / file).read_text() == (folder / file).read_text()
    settings = [json.loads((each / "generation_config.json").read_text()) for each in (folder, tmp_path / "again")]
    assert settings[0]["eos_token_id"] == settings[1]["eos_token_id"]


def test_a_model_of_running_text_has_no_template(tmp_path: Path) -> None:
    base = published(tmp_path / "base", "llama")
    text = ("recipe.trainer=pretrain", "recipe.chat=null", "data=[{dataset: text/en/train}]", "recipe.steps=1")
    tuned(base, tmp_path / "run", *text, adapter=False)
    export(str(tmp_path / "run"), "transformers", tmp_path / "exported", REGISTRY)
    assert loaded(tmp_path / "exported").chat_template is None
    assert loaded(tmp_path / "exported").eos_token == "</s>"


def test_generation_ends_and_a_harness_sets_its_own_limit(tmp_path: Path) -> None:
    base = published(tmp_path / "base", "llama", begun=True, initializer_range=0.02)
    rows = [{"messages": messages((("user", f"Say {word}."), ("assistant", word)))} for word in ("one", "two")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = (f"data=[{{dataset: {tmp_path / 'rows.jsonl'}}}]", "recipe.steps=60", "recipe.optimizer.learning_rate=0.01")
    limit = "generation={temperature: 0.0, max_new_tokens: 50}"
    tuned(base, tmp_path / "run", *given, limit, adapter=False)
    export(str(tmp_path / "run"), "transformers", tmp_path / "exported", REGISTRY)
    tokenizer, make = loaded(tmp_path / "exported"), AutoModelForCausalLM
    model: Any = make.from_pretrained(tmp_path / "exported")
    ids = tokenizer.apply_chat_template(
        messages((("user", "Say two."),)), add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    written = model.generate(ids, max_new_tokens=40)[0, ids.shape[1] :]
    assert tokenizer.decode(written) == "two<|im_end|>"

    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness: Any = HFLM(pretrained=str(tmp_path / "exported"), device="cpu", batch_size=1)
    for wanted in (3, 7):
        arguments = ("The sea", {"until": ["\x00"], "max_gen_toks": wanted, "do_sample": False})
        (text,) = harness.generate_until([Instance("generate_until", {}, arguments, 0)], disable_tqdm=True)
        free = model.generate(
            tokenizer("The sea", return_tensors="pt").input_ids, max_new_tokens=wanted, do_sample=False
        )
        assert text == tokenizer.decode(free[0, len(tokenizer("The sea").input_ids) :], skip_special_tokens=True)
