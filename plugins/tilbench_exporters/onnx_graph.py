"""ONNX: a graph from ids to logits, which onnxruntime has to compute as torch does before the export counts.

onnxruntime's CPU has no half-precision kernels for most of a decoder, and a graph that runs in fp16 missed torch by up
to 0.025 where logits reach 7. In fp16 (and bf16, which it cannot run at all) the weights are rounded and what is
computed with them is not: fp16 weights are stored as such and cast when the graph is loaded, bf16 is refused.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tilbench.errors import CheckpointError, MissingDependency, Unsupported
from tilbench.kinds.exporter import ExportJob
from tilbench_exporters.weights import loaded, write_metadata

__all__ = ["OPSET", "TOLERANCE", "OnnxExporter"]

OPSET = 18
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
"""Largest absolute difference of a logit between onnxruntime and torch."""
SINGLE_FILE = 1 << 30
"""Bytes of weights above which they lie beside the graph, in model.onnx.data; ONNX's own limit is 2 GiB."""
_FILE = "model.onnx"


class _Logits(nn.Module):
    """A decoder under the name that its input has in ONNX."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.decoder(input_ids)  # type: ignore[no-any-return]


class OnnxExporter:
    """Writes `model.onnx`: `input_ids` int64 [batch, time] → `logits` fp32 [batch, time, vocabulary]."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        """Write the graph and `metadata.json`.

        Raises Unsupported for bf16 and for a decoder that torch cannot turn into a graph, MissingDependency,
        CheckpointError where onnxruntime computes something else than torch.
        """
        for package in ("onnx", "onnxruntime", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependency(package, "onnx", "exporting to ONNX")
        if job.dtype not in TOLERANCE:
            raise Unsupported(f"onnxruntime runs no {job.dtype} decoders; use --dtype {' or '.join(TOLERANCE)}")
        decoder: Any = loaded(job).float()
        with _quiet():
            program = _traced(decoder, job)
            _forget_places(program.model)
            _name_types(program.model.graph)
            if job.dtype == "float16":
                _halve(program.model.graph, {f"decoder.{name}" for name, _ in decoder.named_parameters()})
            size = sum(parameter.numel() for parameter in decoder.parameters()) * getattr(torch, job.dtype).itemsize
            program.save(out / _FILE, external_data=size > SINGLE_FILE)
            difference = _difference(out / _FILE, decoder, job.config.max_length)
        limit = TOLERANCE[job.dtype]
        if not difference <= limit:  # a NaN is no small difference
            raise CheckpointError(
                f"onnxruntime's logits differ from torch's by {difference:.2g}, and {job.dtype} allows {limit:g}: "
                "nothing was exported; try another --dtype or version of onnxruntime"
            )
        told = {"opset": OPSET, "largest_difference_from_torch": difference}
        write_metadata(job, out, **told)
        return {"files": sorted(path.name for path in out.iterdir()), **told}


def _traced(decoder: Any, job: ExportJob) -> Any:
    """Return torch's ONNX program of the decoder, of any number of rows and tokens."""
    longest = max(2, job.config.max_length)
    shapes = {"input_ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=longest)}}
    example = torch.zeros(2, min(8, longest), dtype=torch.int64)
    try:
        return torch.onnx.export(
            _Logits(decoder).eval(),
            (example,),
            dynamo=True,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            optimize=False,  # it would store transposed copies of tied weights under no name
            verbose=False,
        )
    except Exception as error:  # torch.export's, the converter's and the decoder's own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        name = job.info.architecture.name
        raise Unsupported(f"torch makes no ONNX graph of architecture {name!r}: {reason}") from None


def _forget_places(model: Any) -> None:
    """Take out what the exporter notes of each node: lines of source files, with the folders they lie in."""
    values = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    for part in (model, model.graph, *model.functions.values(), *values):
        part.metadata_props.clear()
    for node in model.graph.all_nodes():
        for part in (node, *node.outputs):
            part.metadata_props.clear()


def _name_types(graph: Any) -> None:
    """Say outright to which type values are cast: `CastLike` makes onnxruntime warn whoever loads the file."""
    import onnx_ir as ir

    for node in [node for node in graph if node.op_type == "CastLike" and node.inputs[1].dtype is not None]:
        cast = ir.node("Cast", [node.inputs[0]], attributes={"to": node.inputs[1].dtype}, name=node.name)
        ir.convenience.replace_nodes_and_values(graph, node, [node], [cast], node.outputs, cast.outputs)


def _halve(graph: Any, names: set[str]) -> None:
    """Store the weights of these names in fp16, and cast them to fp32 at the front of the graph."""
    import onnx_ir as ir

    front = graph[0]
    for name in sorted(names & set(graph.initializers)):
        whole = graph.initializers.pop(name)
        half = ir.tensor(whole.const_value.numpy().astype("float16"), name=f"{name}.fp16")
        stored = ir.Value(name=half.name, shape=whole.shape, type=ir.TensorType(ir.DataType.FLOAT16), const_value=half)
        graph.register_initializer(stored)
        cast = ir.node("Cast", [stored], attributes={"to": ir.DataType.FLOAT}, name=f"{name}.cast")
        cast.outputs[0].name = f"{name}.fp32"
        whole.replace_all_uses_with(cast.outputs[0])
        graph.insert_before(front, cast)


@torch.no_grad()
def _difference(path: Path, decoder: Any, longest: int) -> float:
    """Return the largest difference of a logit between the file and the decoder, on random ids of several shapes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    found = 0.0
    for rows, tokens in ((1, 1), (1, 7), (3, 16), (2, 33), (1, 128)):
        ids = torch.randint(decoder.vocab_size, (rows, min(tokens, longest)), generator=random)
        theirs = torch.from_numpy(session.run(["logits"], {"input_ids": ids.numpy()})[0])
        found = max(found, float((theirs - decoder(ids)).abs().max()), key=_badness)
    return found


def _badness(difference: float) -> float:
    return float("inf") if difference != difference else difference  # NaN is worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling which of its own parts are old or not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
