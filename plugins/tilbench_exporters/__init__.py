"""Exporters: Transformers' folders, plain weights (safetensors, pt), ONNX."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register

__all__ = ["register_exporters"]


@hookimpl
def register_exporters(register: Register) -> None:
    """Register the four formats; torch is imported when one of them is first used."""
    here = "tilbench_exporters"
    register(
        "transformers",
        f"{here}.transformers_folder:TransformersExporter",
        summary="a folder for AutoModelForCausalLM, tokenizer and model card included",
    )
    register("safetensors", f"{here}.plain:SafetensorsExporter", summary="model.safetensors, names as they are here")
    register("pt", f"{here}.plain:TorchExporter", summary="model.pt, a plain state dict for torch.load")
    register("onnx", f"{here}.onnx_graph:OnnxExporter", summary="model.onnx: ids → logits, checked with onnxruntime")
