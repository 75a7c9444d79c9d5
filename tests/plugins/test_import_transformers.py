"""Transformers folders become checkpoints of ours: the same bits, the same scores, and no field passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tilbench.checkpoints.folder import read_info
from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError, ConfigError, DataError, TilbenchError, Unsupported
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Continuation, Document
from tilbench.loader import Host
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.resolve.specs import load_spec
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench.training.initial import base_origin
from tilbench_import.plan import Asked, plan_import, write_import

TEXTS = ["Bugün hava çok güzel.", "Kitap masanın üstünde duruyor.", "The train leaves at nine o'clock."]
SHARED = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
LLAMA = {**SHARED, "num_key_value_heads": 2, "max_position_embeddings": 64}
DEEPSEEK = {
    **{**SHARED, "num_key_value_heads": 4, "max_position_embeddings": 64, "first_k_dense_replace": 2},
    **{"q_lora_rank": 16, "kv_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8},
}
GPT2 = {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 64}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt2 untied": ("gpt2", {**GPT2, "tie_word_embeddings": False, "n_inner": 40}),
    "gpt2 with GELU itself": ("gpt2", {**GPT2, "activation_function": "gelu"}),
    "llama": ("llama", LLAMA),
    "llama with biases, tied": (
        "llama",
        {**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 12, "tie_word_embeddings": True},
    ),
    "deepseek": ("deepseek_v3", DEEPSEEK),
    "deepseek, halves": ("deepseek_v3", {**DEEPSEEK, "rope_interleave": False, "tie_word_embeddings": True}),
    "deepseek, direct queries": ("deepseek_v3", {**DEEPSEEK, "q_lora_rank": None}),
}


def make_tokenizer(folder: Path, *, bos: bool = True, eos: bool = True, add_bos: bool = False) -> int:
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = [*(["<s>"] if bos else []), *(["</s>"] if eos else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(TEXTS, trainer)
    if add_bos:
        fast.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    names = {**({"bos_token": "<s>"} if bos else {}), **({"eos_token": "</s>"} if eos else {})}
    PreTrainedTokenizerFast(tokenizer_object=fast, **names).save_pretrained(folder)  # type: ignore[no-untyped-call]
    return int(fast.get_vocab_size())


def make(folder: Path, name: str, *, save: dict[str, Any] | None = None, **tokenizer: Any) -> Any:
    """Save a random model of Transformers, far from uniform, with its tokenizer."""
    kind, fields = CLASSES[name]
    size = make_tokenizer(folder, **tokenizer)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(0)
    build: Any = AutoModelForCausalLM.from_config
    model = build(AutoConfig.for_model(kind, vocab_size=size, **ids, **fields), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    model.save_pretrained(folder, **(save or {}))
    return model


def change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def import_it(folder: Path, out: Path, host: Host, **asked: Any) -> Path:
    return write_import(plan_import(str(folder), host.registry, Asked(**asked)), out)


def native(folder: Path, host: Host) -> Any:
    info = read_info(folder)
    architecture: Any = host.registry.architectures.get(info.architecture.name)
    return architecture.load(architecture.Config(**info.architecture.config), folder).eval()


@pytest.mark.parametrize("name", CLASSES)
def test_logits_are_those_of_transformers(name: str, host: Host, tmp_path: Path) -> None:
    model = make(tmp_path / "theirs", name)
    ours = native(import_it(tmp_path / "theirs", tmp_path / "ours", host), host)
    ids = torch.randint(270, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert float((ours(ids) - model(ids).logits).abs().max()) <= 1e-5


@pytest.mark.parametrize("save", [{"max_shard_size": "20KB"}, "bin", "without the head's prefix"])
def test_every_form_of_the_files_gives_the_same(save: Any, host: Host, tmp_path: Path) -> None:
    make(tmp_path / "one", "gpt2")
    make(tmp_path / "two", "gpt2", save=save if isinstance(save, dict) else None)
    weights = tmp_path / "two" / "model.safetensors"
    if save == "bin":
        torch.save(load_file(weights), tmp_path / "two" / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        weights.unlink()
    elif isinstance(save, str):
        bare = {name.removeprefix("transformer."): each for name, each in load_file(weights).items()}
        masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril() for layer in range(2)}
        save_file({**bare, **masks, "lm_head.weight": bare["wte.weight"].clone()}, weights)
    else:
        assert not weights.exists()
        assert len(list((tmp_path / "two").glob("model-*.safetensors"))) > 2
    one, two = (
        native(import_it(tmp_path / name, tmp_path / f"{name}-out", host), host).state_dict() for name in ("one", "two")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", CLASSES)
def test_native_to_transformers_and_back_is_the_same_bits(name: str, host: Host, tmp_path: Path) -> None:
    make(tmp_path / "first", name)
    ours = import_it(tmp_path / "first", tmp_path / "ours", host)
    info = read_info(ours)
    architecture: Any = host.registry.architectures.get(info.architecture.name)
    config = architecture.Config(**info.architecture.config)
    folder = tmp_path / "exported"
    make_tokenizer(folder)
    save_file(architecture.to_transformers(config, native(ours, host).state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(architecture.transformers_config(config)), encoding="utf-8")
    back = import_it(folder, tmp_path / "back", host)
    assert read_info(back).architecture == info.architecture
    one, two = native(ours, host).state_dict(), native(back, host).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_folder_with_python_of_its_own_is_read_without_running_it(host: Host, tmp_path: Path) -> None:
    size = make_tokenizer(tmp_path / "theirs")
    architecture: Any = host.registry.architectures.get("alibi")
    sizes = {"vocab_size": size, "max_length": 64, "hidden_size": 32, "num_layers": 2, "intermediate_size": 48}
    config = architecture.Config(num_heads=4, num_kv_heads=2, dropout=0.02, **sizes)
    torch.manual_seed(2)
    module = architecture.build(config)
    llama: Any = host.registry.architectures.get("llama")
    alike = llama.Config(num_heads=4, num_kv_heads=2, **sizes)  # their parts have the same names
    save_file(llama.to_transformers(alike, module.state_dict()), tmp_path / "theirs" / "model.safetensors")
    fields = {
        "architectures": ["AlibiForCausalLM"],
        "model_type": "tilbench_alibi",
        "auto_map": {"AutoConfig": "modeling.AlibiConfig", "AutoModelForCausalLM": "modeling.AlibiForCausalLM"},
        **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "dropout": 0.02},
        **{"vocab_size": size, "bias": False, "rms_norm_eps": 1e-6, "tie_word_embeddings": True},
    }
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "theirs" / "modeling.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    ours = import_it(tmp_path / "theirs", tmp_path / "ours", host)
    got = read_info(ours).architecture
    assert (got.name, architecture.Config(**got.config)) == ("alibi", config.model_copy(update={"head_dim": 8}))
    assert all(torch.equal(each, module.state_dict()[name]) for name, each in native(ours, host).state_dict().items())


def test_a_model_of_the_hub_is_fetched_and_taken_over(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "theirs", "llama")
    fetched: list[tuple[str, str | None]] = []

    def fetch(name: str, revision: str | None = None, **more: Any) -> str:
        fetched.append((name, revision))
        return str(tmp_path / "theirs")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    plan = plan_import("hf:org/name@v2", host.registry, Asked())
    assert fetched == [("org/name", "v2")]
    assert plan.info.model == "org/name@v2"


def answers(loader: Any, folder: Path, host: Host, **options: Any) -> list[float]:
    load = partial(load_tokenizer, registry=host.registry)
    model = loader.open(str(folder), OpenOptions(load_tokenizer=load, **options))
    asked = [Document(" ".join(TEXTS)), Continuation("Bugün hava", " çok güzel."), Continuation("", "The train")]
    found = {request: answer.logprob for batch in model.answer(asked) for request, answer in batch}
    return [found[request] for request in asked]


@pytest.mark.parametrize(
    "tokenizer", [{}, {"add_bos": True}, {"bos": False}], ids=["bos, not added", "bos added", "eos alone"]
)
@pytest.mark.parametrize("prefix", ["", "bos", "eos", "none"])
def test_a_checkpoint_scores_as_the_folder_that_it_came_from(
    tokenizer: dict[str, Any], prefix: str, host: Host, tmp_path: Path
) -> None:
    if prefix == "bos" and "bos" in tokenizer:
        pytest.skip("there is no bos")
    make(tmp_path / "theirs", "llama", **tokenizer)
    ours = import_it(tmp_path / "theirs", tmp_path / "ours", host, prefix=prefix)
    theirs = host.registry.loaders.get("huggingface")
    expected = answers(theirs, tmp_path / "theirs", host, prefix=prefix)
    assert answers(CheckpointLoader(host.registry), ours, host) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("added", [True, False])
def test_training_on_from_an_import_begins_texts_as_the_folder_does(added: bool, host: Host, tmp_path: Path) -> None:
    make(tmp_path / "theirs", "llama", add_bos=added)
    ours = import_it(tmp_path / "theirs", tmp_path / "ours", host)
    spec = load_spec(parse_spec("auto-g-nano-1b:tiny"), host.registry, [f"base={ours}"])
    huggingface: Any = host.registry.architectures.get("huggingface")
    theirs = huggingface.origin(str(tmp_path / "theirs"))
    start = base_origin(spec, host.registry.architectures.get("llama"), host.registry)
    assert start is not None
    assert (start.prefix, start.contexts) == (theirs.prefix, theirs.contexts) == (0, added)


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("llama", {"attention_bias": True}, r"mlp_bias is False; the LlamaForCausalLM of ours has True only"),
        ("llama", {"hidden_act": "gelu"}, r"hidden_act is 'gelu'"),
        ("llama", {"sliding_window": 32}, r"sliding_window is 32, which the LlamaForCausalLM of ours does not have"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope_scaling is of type 'linear'"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, r"rope_parameters is of type 'yarn'"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, r"rope_parameters.partial_rotary_factor is 0.5"),
        ("llama", {"rope_theta": 5.0}, r"rope_theta is 5.0 and 10000.0; correct one of them"),
        ("llama", {"quantization_config": {"bits": 4}}, r"quantization_config is"),
        ("llama", {"auto_map": {"AutoModel": "m.py"}}, r"auto_map is"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, r"has no LlamaForCausalLM"),
        ("gpt2", {"activation_function": "relu"}, r"activation_function is 'relu'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", {"scale_attn_weights": False}, r"scale_attn_weights is False"),
        ("gpt2", {"add_cross_attention": True}, r"add_cross_attention is True"),
        ("gpt2", {"embd_pdrop": 0.3}, r"embd_pdrop is 0.3"),
        ("deepseek", {"first_k_dense_replace": 1}, r"first_k_dense_replace is 1 of 2 layers, so the rest have experts"),
        ("deepseek", {"attention_bias": True}, r"attention_bias is True"),
        ("deepseek", {"num_key_value_heads": 2}, r"num_key_value_heads is 2"),
    ],
)
def test_a_field_that_we_cannot_honour_is_refused_by_name(
    name: str, fields: dict[str, Any], reason: str, host: Host, tmp_path: Path
) -> None:
    make(tmp_path / "theirs", name)
    change(tmp_path / "theirs", **fields)
    with pytest.raises(TilbenchError, match=reason) as refused:
        import_it(tmp_path / "theirs", tmp_path / "ours", host)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hidden_size": 64}, r"embedding\.weight \[\d+, 32\], and by config\.json it is \[\d+, 64\]"),
        ({"vocab_size": 999}, r"embedding\.weight \[\d+, 32\], and by config\.json it is \[999, 32\]"),
        ({"num_hidden_layers": 3}, r"9 weights are missing, among them model\.layers\.2\."),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\.input_layernorm\.weight, .* and 6 more is no part of the model"),
        ({"tie_word_embeddings": True}, r"lm_head\.weight is no part of the model"),
    ],
)
def test_weights_and_config_that_do_not_fit_are_refused(
    fields: dict[str, Any], reason: str, host: Host, tmp_path: Path
) -> None:
    make(tmp_path / "theirs", "llama")
    change(tmp_path / "theirs", **fields)
    with pytest.raises(CheckpointError, match=reason):
        import_it(tmp_path / "theirs", tmp_path / "ours", host)


def test_what_is_no_model_of_ours_is_refused_with_the_way_out(host: Host, tmp_path: Path) -> None:
    make(tmp_path / "theirs", "llama")
    with pytest.raises(ConfigError, match=r"has a config\.json, which says what it is"):
        import_it(tmp_path / "theirs", tmp_path / "ours", host, model="auto-g-nano-1b:tiny")
    ours = import_it(tmp_path / "theirs", tmp_path / "ours", host)
    with pytest.raises(CheckpointError, match="is a checkpoint of ours already"):
        import_it(ours, tmp_path / "again", host)
    with pytest.raises(DataError, match="exists; name a folder that does not"):
        import_it(tmp_path / "theirs", ours, host)
    change(tmp_path / "theirs", model_type="mamba")
    with pytest.raises(Unsupported, match=r"no architecture of ours reads model_type 'mamba' \(known: deepseek_v3"):
        import_it(tmp_path / "theirs", tmp_path / "other", host)
    (tmp_path / "theirs" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json .*name one of its files: model\.safetensors"):
        import_it(tmp_path / "theirs", tmp_path / "other", host)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        import_it(tmp_path / "nowhere", tmp_path / "other", host)


def test_the_command_imports_what_every_command_takes(tilbench: Callable[..., Any], tmp_path: Path) -> None:
    make(tmp_path / "theirs", "llama", add_bos=True)
    looked = tilbench("import", tmp_path / "theirs", "--dry-run")
    assert looked.status == 0
    assert "nothing was written" in looked.out
    assert "names and shapes are those of Transformers' llama" in looked.out
    assert "theirs" not in looked.out.replace(str(tmp_path / "theirs"), "").replace("theirs (llama)", "")  # no table
    assert {each.name for each in tmp_path.iterdir()} == {"theirs"}
    assert tilbench("import", tmp_path / "theirs").err.startswith("error: name the folder of the checkpoint with --out")
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    done = tilbench(
        *("import", tmp_path / "theirs", "--out", tmp_path / "ours", "--text", tmp_path / "text.txt", "--json")
    )
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert said["prefix"] == {"id": 0, "contexts": True}
    assert said["parameters"] == read_info(tmp_path / "ours").parameters
    assert said["loss"] > said["chance"]  # random weights, far from uniform: worse than guessing
    assert "a weight is taken for another" in done.err
    suite = {"name": "mine", "tasks": [{"name": "bpb", "metric": "bpb", "dataset": str(tmp_path / "text.txt")}]}
    (tmp_path / "mine.yaml").write_text(json.dumps(suite), encoding="utf-8")
    both = f"{tmp_path / 'theirs'},{tmp_path / 'ours'}"
    ran = tilbench("run", tmp_path / "mine.yaml", "--models", both, "--out", tmp_path / "records", "--device", "cpu")
    assert ran.status == 0, ran.err
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "records").rglob("*.json")]
    one, two = (each["values"]["bpb"]["value"] for each in records)
    assert one == pytest.approx(two, abs=1e-5)
