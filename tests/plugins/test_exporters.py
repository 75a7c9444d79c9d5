"""Exports against their checkpoints: logits, ids, log-likelihoods, dtypes, graphs, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from torch import Tensor

from tilbench.checkpoints.folder import CheckpointInfo, write_info
from tilbench.checkpoints.weights import load_torch_weights, load_weights
from tilbench.config.model import Adapter, ArchitectureRef
from tilbench.errors import CheckpointError, TilbenchError, Unsupported
from tilbench.kinds.exporter import ExportJob
from tilbench.loader import Host
from tilbench.publish.card import model_card
from tilbench.publish.export import export, export_job
from tilbench.results.markdown import escape
from tilbench.testing import ExporterConformance, toy_texts
from tilbench.testing.modules import example_config, lively
from tilbench_exporters.plain import SafetensorsExporter
from tilbench_exporters.tokenizer_files import SAMPLES, write_tokenizer

pytest.importorskip("transformers")

TEXTS = [*SAMPLES, *toy_texts(60)]
LENGTH = 64
TEXT = "Қазақстанның астанасы – Астана. Bugün hava çok güzel. Perché no?"
LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
HUGGINGFACE = {"model_type": "llama", "vocab_size": 61, "max_length": LENGTH, "config": LLAMA}
NATIVE = ("gpt2", "llama", "alibi", "mla")
VARIATIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in (*NATIVE, "huggingface")),
    ("gpt2", {"tie_embeddings": False}),
    ("llama", {"tie_embeddings": False, "bias": True, "rope_theta": 500_000.0}),
    ("alibi", {"tie_embeddings": False, "bias": True, "num_heads": 6, "num_kv_heads": 3, "head_dim": 10}),
    ("mla", {"q_lora_rank": None, "rope_theta": 100_000.0}),
]

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def _calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let other libraries warn of each other, and keep the code that Transformers copies in the test's folder."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def bpe(host: Host) -> Any:
    return host.registry.tokenizers.get("bpe").train(TEXTS, {"vocab_size": 420})


def save_checkpoint(
    host: Host, folder: Path, name: str, tokenizer: Any, adapter: Adapter | None = None, **changes: Any
) -> Any:
    """Write a checkpoint of random weights, far from zero, and return its module."""
    architecture: Any = host.registry.architectures.get(name)
    sizes = {"vocab_size": tokenizer.size, "max_length": LENGTH, **changes}
    config = example_config(architecture, {**(HUGGINGFACE if name == "huggingface" else {}), **sizes})
    torch.manual_seed(1)
    module = architecture.build(config).eval()
    lively(module)
    if adapter is not None:
        module = architecture.adapt(module, adapter).eval()
        with torch.no_grad():
            for key, parameter in module.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(0.0, 0.3)
    folder.mkdir(parents=True)
    architecture.save(module, folder)
    tokenizer.save(folder)
    info = CheckpointInfo(
        model="a_model:tiny",
        architecture=ArchitectureRef(name=name, config=config.model_dump()),
        tokenizer=tokenizer.family,
        prefix=tokenizer.special.eos,
        parameters=1,
        step=7,
        tokens=1234,
        run="abc",
        lineage=("def",),
    )
    write_info(folder, info)
    return module


def loaded(folder: Path, **options: Any) -> Any:
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained
    return load(folder, trust_remote_code=True, **options).eval()


def auto_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained
    return load(folder)


def text_ids(tokenizer: Any) -> Tensor:
    ids = [tokenizer.special.eos, *tokenizer.encode(TEXT)][:LENGTH]
    assert len(ids) > LENGTH / 2
    return torch.tensor([ids])


def delta(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a.float() - b.float()).abs().max())


# Transformers


def test_every_architecture_with_a_class_of_transformers_is_tested(host: Host) -> None:
    methods = ("to_transformers", "save_transformers")
    able = {name for name, each in host.registry.architectures.all() if any(hasattr(each, m) for m in methods)}
    assert able == {name for name, _ in VARIATIONS}


@pytest.mark.parametrize(("name", "changes"), VARIATIONS)
@torch.no_grad()
def test_the_folder_has_the_logits_ids_and_tokens_of_the_checkpoint(
    host: Host, bpe: Any, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    module = save_checkpoint(host, tmp_path / "run", name, bpe, **changes)
    export(str(tmp_path / "run"), "transformers", tmp_path / "out", host.registry, allow_code=True)
    model, tokenizer = loaded(tmp_path / "out"), auto_tokenizer(tmp_path / "out")
    ids = text_ids(bpe)
    assert tokenizer(TEXT)["input_ids"][:LENGTH] == ids[0].tolist()
    assert module(ids).std() > 0.1
    assert delta(model(ids).logits, module(ids)) <= 1e-5
    assert model.dtype == torch.float32
    special = (bpe.special.eos, bpe.special.eos, bpe.special.pad)  # documents begin with eos in training
    for config in (model.config, model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == special
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == special
    assert tokenizer.model_max_length == LENGTH
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir() if path.is_file()} == {0o644}


def test_bf16_keeps_its_dtype(host: Host, bpe: Any, tmp_path: Path) -> None:
    for name in ("llama", "huggingface"):
        module = save_checkpoint(host, tmp_path / name / "run", name, bpe)
        out = tmp_path / name / "out"
        export(str(tmp_path / name / "run"), "transformers", out, host.registry, dtype="bfloat16")
        with safe_open(out / "model.safetensors", framework="pt") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118
        model = loaded(out)
        assert model.dtype == torch.bfloat16
        with torch.no_grad():
            assert delta(model(text_ids(bpe)).logits, module.bfloat16()(text_ids(bpe))) <= 0.3


@pytest.mark.parametrize("name", ["llama", "huggingface"])
@torch.no_grad()
def test_an_adapter_is_merged(host: Host, bpe: Any, tmp_path: Path, name: str) -> None:
    pytest.importorskip("peft")
    module = save_checkpoint(host, tmp_path / "run", name, bpe, Adapter(rank=4, alpha=8))
    before = {path.name for path in (tmp_path / "run").rglob("*")}
    export(str(tmp_path / "run"), "transformers", tmp_path / "out", host.registry)
    assert {path.name for path in (tmp_path / "run").rglob("*")} == before
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    ids = text_ids(bpe)
    plain = save_checkpoint(host, tmp_path / "plain", name, bpe)
    assert delta(module.model(ids).logits if name == "huggingface" else module(ids), plain(ids)) > 0.1
    expected = module.model(ids).logits if name == "huggingface" else module(ids)
    assert delta(loaded(tmp_path / "out")(ids).logits, expected) <= 1e-4


def test_decoding_settings_and_card(host: Host, bpe: Any, tmp_path: Path) -> None:
    save_checkpoint(host, tmp_path / "run" / "step-00000007", "llama", bpe)
    generation = {"temperature": 0.7, "top_k": 0, "top_p": 0.9, "repetition_penalty": 1.1, "max_new_tokens": 80}
    parts = {"architecture": {"name": "llama"}, "tokenizer": {"family": "bpe"}, "generation": generation}
    run = {"spec": {"name": "a", "title": "A", **parts}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(run), encoding="utf-8")
    export(f"{tmp_path / 'run'}@7", "transformers", tmp_path / "out", host.registry)
    config = loaded(tmp_path / "out").generation_config
    assert config.do_sample
    assert (config.temperature, config.top_k, config.top_p) == (0.7, 0, 0.9)
    assert (config.repetition_penalty, config.max_new_tokens) == (1.1, None)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for said in ("a\\_model:tiny", "| training steps | 7 |", "| training tokens | 1,234 |", "| started from | def |"):
        assert said in card
    architecture: Any = host.registry.architectures.get("llama")
    with export_job(f"{tmp_path / 'run'}@7", host.registry) as job:
        assert f"| parameters | {architecture.parameters(job.config):,} |" in card
        longer = model_card(job, [("Results", "| a | b |\n|---|---|")], {"license": "mit", "language": ["kk"]})
        assert longer.endswith("\n## Results\n\n| a | b |\n|---|---|\n")
    assert "trust_remote_code" not in card
    head = vars(ModelCard(longer).data)  # what the Hub reads of it
    assert {name: head[name] for name in ("license", "language", "library_name", "pipeline_tag", "tags")} == {
        "license": "mit",
        "language": ["kk"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tilbench"],
    }


def test_text_in_a_card_is_shown_as_it_is() -> None:
    assert escape("a <b>*c*</b>\n| [d](e) `f`") == r"a &lt;b&gt;\*c\*&lt;/b&gt; \| \[d\]\(e\) \`f\`"


def test_a_run_json_that_is_damaged_is_said(host: Host, bpe: Any, tmp_path: Path) -> None:
    save_checkpoint(host, tmp_path / "run" / "step-00000007", "llama", bpe)
    (tmp_path / "run" / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not say how the run was trained"):
        export(str(tmp_path / "run"), "transformers", tmp_path / "out", host.registry)


# ALiBi's own code

_ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("tilbench"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Refuse())
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, result = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = torch.load(f"{folder}/../ids.pt")
with torch.no_grad():
    logits = model(ids).logits
model.generate(ids[:, :5], max_new_tokens=3, do_sample=False)
assert not [name for name in sys.modules if name.split(".")[0].startswith("tilbench")]
torch.save(logits, result)
"""


@pytest.fixture
def alibi(host: Host, bpe: Any, tmp_path: Path) -> tuple[Any, Path]:
    """An ALiBi decoder and its export."""
    module = save_checkpoint(host, tmp_path / "run", "alibi", bpe)
    export(str(tmp_path / "run"), "transformers", tmp_path / "out", host.registry, allow_code=True)
    return module, tmp_path / "out"


@torch.no_grad()
def test_alibi_is_loaded_where_tilbench_is_not(alibi: tuple[Any, Path], bpe: Any, tmp_path: Path) -> None:
    module, folder = alibi
    torch.save(text_ids(bpe), tmp_path / "ids.pt")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TILBENCH", "PYTHON"))}
    command = [sys.executable, "-I", "-c", _ALONE, str(folder), str(tmp_path / "logits.pt")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**kept, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert delta(torch.load(tmp_path / "logits.pt", weights_only=True), module(text_ids(bpe))) <= 1e-5


@torch.no_grad()
def test_alibi_goes_on_from_a_cache_and_ignores_padding(alibi: tuple[Any, Path], bpe: Any) -> None:
    model, ids = loaded(alibi[1]), text_ids(bpe)
    whole = model(ids).logits
    first = model(ids[:, :20], use_cache=True)
    rest = model(ids[:, 20:], **{"cache" if "cache" in first else "past_key_values": first[1]})
    assert delta(torch.cat([first.logits, rest.logits], 1), whole) <= 1e-5
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.int64), ids], 1)
    mask = (torch.arange(padded.shape[1]) >= 5)[None].long()
    out = model(padded, attention_mask=mask).logits
    assert out.isfinite().all()
    assert delta(out[:, 5:], whole) <= 1e-5
    rows, masks = torch.cat([ids[:, :15], padded[:, :15]]), torch.cat([torch.ones(1, 15).long(), mask[:, :15]])
    written = model.generate(rows, attention_mask=masks, max_new_tokens=12, do_sample=False, eos_token_id=None)
    slow = model.generate(
        rows, attention_mask=masks, max_new_tokens=12, do_sample=False, eos_token_id=None, use_cache=False
    )
    alone = model.generate(ids[:, :10], max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert written.shape[1] == 27
    assert torch.equal(written, slow)
    assert torch.equal(written[1, 5:], alone[0])


@torch.no_grad()
def test_alibi_sees_no_future_and_refuses_other_masks(alibi: tuple[Any, Path], bpe: Any) -> None:
    model, ids = loaded(alibi[1]), text_ids(bpe)
    other = ids.clone()
    other[:, 30:] = 5
    assert delta(model(ids).logits[:, :30], model(other).logits[:, :30]) == 0
    with pytest.raises(ValueError, match="attention_mask must be"):
        model(ids, attention_mask=torch.ones(1, 1, 8, 8))


def test_alibi_has_a_loss_and_gradients(alibi: tuple[Any, Path], bpe: Any) -> None:
    model, ids = loaded(alibi[1]).train(), text_ids(bpe)
    out = model(ids, labels=ids)
    expected = torch.nn.functional.cross_entropy(out.logits[0, :-1], ids[0, 1:])
    assert float(out.loss) == pytest.approx(float(expected))
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# Tokenizers


def rank_file(folder: Path) -> str:
    words = [b"the", b"th", b"e ", b"ab", b"aba", b"abab", b" t", b"\xd2\x9b"]
    tokens = [*(bytes([byte]) for byte in range(256)), *sorted(words, key=len)]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (folder / "words.tiktoken").write_text("".join(lines), encoding="ascii")
    return f"{folder / 'words.tiktoken'}#cl100k_base"


def pieces(folder: Path, kind: str) -> str:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text for text in TEXTS if text),
        model_prefix=str(folder / kind),
        model_type=kind,
        vocab_size=420,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return str(folder / f"{kind}.model")


def foreign(host: Host, bpe: Any, folder: Path) -> str:
    """A folder as others save it, whose own rules put a token behind a text."""
    bpe.save(folder)
    (folder / "tokenizer_family.json").unlink()
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["dropout"] = 0.5
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def tokenizer_of(host: Host, bpe: Any, family: str, folder: Path) -> Any:
    name, _, kind = family.partition("-")
    made = host.registry.tokenizers.get(name)
    if made.trainable:
        return made.train(TEXTS, {"vocab_size": 600})
    references: Mapping[str, Callable[[], str]] = {
        "bytes": lambda: "bytes",
        "tiktoken": lambda: rank_file(folder),
        "sentencepiece": lambda: pieces(folder, kind),
        "mistral": lambda: "mistral:tekken_240718",
        "huggingface": lambda: foreign(host, bpe, folder),
    }
    return made.load(references[name]())


FAMILIES = (
    *("bpe", "unigram", "wordpiece", "til", "bytes", "tiktoken", "huggingface"),
    *("sentencepiece-unigram", "sentencepiece-bpe"),
    pytest.param("mistral", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_the_tokenizer(host: Host, bpe: Any, llama: Path, tmp_path: Path, family: str) -> None:
    tokenizer = tokenizer_of(host, bpe, family, tmp_path)
    special, out = tokenizer.special, tmp_path / "out"
    prefix = special.bos if special.eos is None else special.eos
    with export_job(str(llama), host.registry) as job:
        out.mkdir()
        info = job.info.model_copy(update={"tokenizer": tokenizer.family, "prefix": prefix})
        job = replace(job, tokenizer=tokenizer, info=info)
        write_tokenizer(job, out)
    theirs = auto_tokenizer(out)
    for text in (*TEXTS, TEXT, *toy_texts(100)):
        ids = tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids, text
        assert theirs(text)["input_ids"] == [prefix, *ids]
    assert theirs.bos_token_id == prefix
    assert theirs.eos_token_id == special.eos
    assert {name: theirs.convert_tokens_to_ids(name) for name in special.named} == dict(special.named)
    assert theirs.decode(tokenizer.encode(TEXT)) == tokenizer.decode(tokenizer.encode(TEXT))


def test_every_family_is_tested(host: Host) -> None:
    tested = {str(getattr(each, "values", [each])[0]).partition("-")[0] for each in FAMILIES}
    assert tested == set(host.registry.tokenizers.names())


@pytest.fixture(scope="module")
def llama(host: Host, bpe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "run"
    save_checkpoint(host, folder, "llama", bpe)
    return folder


def test_a_form_with_other_ids_is_refused(host: Host, llama: Path, tmp_path: Path) -> None:
    with export_job(str(llama), host.registry) as job:
        right = job.tokenizer.to_transformers()  # type: ignore[attr-defined]

        class Wrong:
            family, size, special = "bpe", job.tokenizer.size, job.tokenizer.special
            encode, decode = job.tokenizer.encode, job.tokenizer.decode

            def to_transformers(self) -> Mapping[str, Any]:
                return {**right, "normalizer": {"type": "Lowercase"}}

        with pytest.raises(Unsupported, match="has other ids in Transformers for"):
            write_tokenizer(replace(job, tokenizer=Wrong()), tmp_path)  # type: ignore[arg-type]


# lm-evaluation-harness


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NATIVE, "huggingface"])
def test_log_likelihoods_are_those_of_lm_eval(host: Host, bpe: Any, tmp_path: Path, name: str) -> None:
    """Before a context stands the token that the tokenizer adds, before a whole text lm-eval's own, and not both."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from tilbench_lm_eval.model import TilbenchLM

    save_checkpoint(host, tmp_path / "run", name, bpe)
    export(str(tmp_path / "run"), "transformers", tmp_path / "out", host.registry, allow_code=True)
    native = TilbenchLM(str(tmp_path / "run"), device="cpu")

    def theirs(**options: Any) -> Any:
        folder = str(tmp_path / "out")
        return HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=3, trust_remote_code=True, **options)

    def asked(kind: Any, arguments: tuple[str, ...], index: int) -> Any:
        return Instance(request_type=kind, doc={}, arguments=arguments, idx=index)

    choices = [("Türkiye'nin başkenti", f" {city}") for city in ("Ankara", "İzmir", "Astana")]
    choices += [("Perché", " no?"), ("", "Қазақ тілі")]
    questions = [asked("loglikelihood", pair, index) for index, pair in enumerate(choices)]
    expected = theirs().loglikelihood(questions, disable_tqdm=True)
    for ours, reference in zip(native.loglikelihood(questions), expected, strict=True):
        assert ours[0] == pytest.approx(reference[0], abs=1e-4)
        assert ours[1] == reference[1]
    pages = [asked("loglikelihood_rolling", (text,), index) for index, text in enumerate((TEXT, TEXT * 4, "a"))]
    assert len(bpe.encode(TEXT * 4)) > 2 * LENGTH
    rolling = theirs(add_bos_token=False).loglikelihood_rolling(pages, disable_tqdm=True)
    assert native.loglikelihood_rolling(pages) == pytest.approx(rolling, abs=1e-4, rel=1e-6)


# Plain weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("to", ["safetensors", "pt"])
@pytest.mark.parametrize("name", NATIVE)
def test_plain_weights_come_back(
    host: Host, bpe: Any, tmp_path: Path, tilbench: Command, name: str, to: str, dtype: str
) -> None:
    module = save_checkpoint(host, tmp_path / "run", name, bpe)
    asked = ("export", tmp_path / "run", "--to", to, "--out", tmp_path / "out", "--dtype", dtype, "--json")
    done = tilbench(*asked)
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert sorted(told["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir())
    metadata = json.loads((tmp_path / "out" / "metadata.json").read_text(encoding="utf-8"))
    assert (metadata["model"], metadata["step"], metadata["dtype"]) == ("a_model:tiny", 7, dtype)
    wanted = getattr(torch, dtype)
    architecture = host.registry.architectures.get(name)
    other = architecture.build(architecture.Config(**metadata["architecture"]["config"])).to(wanted)
    if to == "pt":
        state = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
        assert {tensor.dtype for tensor in state.values()} == {wanted}
        load_torch_weights(other, tmp_path / "out" / "model.pt")
    else:
        load_weights(other, tmp_path / "out")
    expected = module.to(wanted).state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in other.state_dict().items())


# ONNX


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", NATIVE)
@torch.no_grad()
def test_onnx_computes_what_torch_does(host: Host, bpe: Any, tmp_path: Path, name: str, dtype: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    module = save_checkpoint(host, tmp_path / "run", name, bpe, num_layers=1)
    told = export(str(tmp_path / "run"), "onnx", tmp_path / "out", host.registry, dtype=dtype)
    file = tmp_path / "out" / "model.onnx"
    graph = onnx.load(file)
    assert [each.version for each in graph.opset_import if not each.domain] == [told["opset"]]
    assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()
    assert "CastLike" not in {node.op_type for node in graph.graph.node}  # onnxruntime warns of it
    held = {each.data_type for each in graph.graph.initializer if len(each.dims) == 2}
    assert held == {onnx.TensorProto.FLOAT if dtype == "float32" else onnx.TensorProto.FLOAT16}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    reference = module if dtype == "float32" else module.half().float()
    for rows, tokens in ((1, 1), (1, 50), (4, 9)):
        ids = torch.randint(module.vocab_size, (rows, tokens))
        (logits,) = session.run(None, {"input_ids": ids.numpy()})
        assert delta(torch.from_numpy(logits), reference(ids)) <= 1e-4


@pytest.mark.slow
def test_onnx_is_checked_and_large_weights_lie_beside_it(
    host: Host, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    import tilbench_exporters.onnx_graph as graph

    monkeypatch.setattr(graph, "SINGLE_FILE", 1000)
    told: Any = export(str(llama), "onnx", tmp_path / "out", host.registry)
    assert told["files"] == ["metadata.json", "model.onnx", "model.onnx.data"][: len(told["files"])]
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 50_000
    monkeypatch.setitem(graph.TOLERANCE, "float32", 0.0)
    with pytest.raises(CheckpointError, match="onnxruntime's logits differ from torch's by"):
        export(str(llama), "onnx", tmp_path / "other", host.registry)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# What is refused


def test_mistakes_are_one_line_and_leave_nothing(
    host: Host, bpe: Any, llama: Path, tmp_path: Path, tilbench: Command
) -> None:
    save_checkpoint(host, tmp_path / "alibi", "alibi", bpe)
    module = save_checkpoint(host, tmp_path / "large", "llama", bpe)
    with torch.no_grad():
        module.norm.weight[3] = 1e5
    host.registry.architectures.get("llama").save(module, tmp_path / "large")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    for reference, to, more, said in (
        (llama, "onyx", (), "unknown exporter 'onyx'; did you mean onnx"),
        (tmp_path / "nowhere", "pt", (), "no such folder"),
        (tmp_path / "empty", "pt", (), f"is imported first: 'tilbench import {tmp_path / 'empty'} --out FOLDER'"),
        ("hf:org/name@main", "pt", (), "import it first: 'tilbench import hf:org/name@main --out FOLDER'"),
        (f"{llama}@9", "pt", (), "is the checkpoint of step 7, not of step 9"),
        (tmp_path / "alibi", "transformers", (), "allow it with --allow-code"),
        (tmp_path / "large", "safetensors", ("--dtype", "fp16"), "weight norm.weight holds 100000, and float16 ends"),
        (tmp_path / "large", "onnx", ("--dtype", "fp16"), "weight norm.weight holds 100000, and float16 ends"),
        (llama, "onnx", ("--precision", "bf16"), "use --dtype float32 or float16"),
    ):
        done = tilbench("export", reference, "--to", to, "--out", tmp_path / "out", *more)
        assert done.status == 2, (to, done)
        assert said in done.err
        assert len(done.err.strip().splitlines()) == 1
        assert sorted(tmp_path.iterdir()) == before
    done = tilbench("export", llama, "--to", "pt", "--out", tmp_path / "empty")
    assert (done.status, "exists; name a folder that does not" in done.err) == (2, True)
    assert not list((tmp_path / "empty").iterdir())


def test_an_architecture_without_a_class_is_refused(host: Host, llama: Path, tmp_path: Path) -> None:
    bare: Any = object()
    with export_job(str(llama), host.registry) as job:
        exporter = host.registry.exporters.get("transformers")
        with pytest.raises(Unsupported, match="says nothing of an equal model in Transformers"):
            exporter.export(replace(job, architecture=bare), tmp_path)


# The checks of exporters


class TestSafetensors(ExporterConformance):
    subject = SafetensorsExporter()


class _Silent:
    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        return {}


class _Careless(SafetensorsExporter):
    """Writes whatever the weights are, always in fp32, and into the checkpoint too."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        module = job.architecture.load(job.config, job.folder)
        job.architecture.save(module, out)
        (job.folder / "more.json").write_text("{}", encoding="utf-8")
        return {}


class _Late(SafetensorsExporter):
    """Refuses in several lines."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        try:
            return super().export(job, out)
        except TilbenchError as error:
            raise CheckpointError(f"{error}\nand so on") from None


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (_Silent(), {"it_writes_files_and_leaves_the_checkpoint"}),
        (
            _Careless(),
            {
                "it_writes_files_and_leaves_the_checkpoint",
                "bfloat16_is_smaller",
                "weights_out_of_range_are_refused",
            },  # loading the checkpoint refuses weights that are not finite
        ),
        (_Late(), {"weights_out_of_range_are_refused", "weights_that_are_not_finite_are_refused"}),
    ],
)
def test_a_faulty_exporter_fails_its_checks(subject: Any, expected: set[str]) -> None:
    checks = ExporterConformance()
    checks.subject = subject
    failed = {outcome.check for outcome in checks.run() if outcome.status == "fail"}
    assert expected <= failed
