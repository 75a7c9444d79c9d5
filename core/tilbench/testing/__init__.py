"""Conformance checks for plugin authors, and toy parts to test with. Public and kept compatible.

Every kind of plugin has a class of checks. From pytest, subclass it under a name that begins with `Test`:

    from tilbench.testing import ArchitectureConformance

    class TestMine(ArchitectureConformance):
        subject, config = MyArchitecture(), {"vocab_size": 64, "max_length": 32}

The same checks, of anything registered, from the command line: `tilbench check NAME`. From Python:
`conformance(kind, name, registry).run()` yields an `Outcome` per check.

| class                      | set on it                                              |
|----------------------------|--------------------------------------------------------|
| `ArchitectureConformance`  | `subject`, `config` (or the architecture's `example`)  |
| `TokenizerConformance`     | `subject` (a family), `reference` or `options`         |
| `MetricConformance`        | `subject` (a class), `settings`, `examples`            |
| `LanguageConformance`      | `package`                                              |
| `DatasetConformance`       | `subject`, `name`                                      |
| `LoaderConformance`        | `subject`, `reference`, `options`                      |
| `LanguageModelConformance` | `subject` (an opened model)                            |
| `TrainerConformance`       | `subject`, `recipe`                                    |
| `HardwareConformance`      | `subject`                                              |
| `ExecutorConformance`      | `subject`                                              |
| `ExporterConformance`      | `subject`                                              |
| `ModelConformance`         | `name`, `registry`                                     |
| `SuiteConformance`         | `name`, `registry`                                     |

Toy parts conform and are as small as that allows: `ToyArchitecture`, `ToyTokenizerFamily`, `ToyLanguageModel`,
`ToyLoader`, `ToyMetric`, `toy_rows`, `toy_texts`, `toy_language`. Nothing is imported before it is asked for, since
some of it imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilbench.testing.architecture import ArchitectureConformance
    from tilbench.testing.base import Conformance, ConformanceError, NotApplicable, Outcome, declining, require
    from tilbench.testing.data import (
        DatasetConformance,
        HardwareConformance,
        ModelConformance,
        SuiteConformance,
    )
    from tilbench.testing.exporter import ExporterConformance
    from tilbench.testing.language import LanguageConformance
    from tilbench.testing.metric import MetricConformance
    from tilbench.testing.model import ExecutorConformance, LanguageModelConformance, LoaderConformance
    from tilbench.testing.registered import conformance
    from tilbench.testing.tokenizer import TokenizerConformance
    from tilbench.testing.toy_decoder import ToyArchitecture, ToyConfig, ToyDecoder
    from tilbench.testing.toys import (
        ToyLanguageModel,
        ToyLoader,
        ToyMetric,
        ToyTokenizer,
        ToyTokenizerFamily,
        toy_language,
        toy_rows,
        toy_texts,
    )
    from tilbench.testing.trainer import TrainerConformance

__all__ = [
    "ArchitectureConformance",
    "Conformance",
    "ConformanceError",
    "DatasetConformance",
    "ExecutorConformance",
    "ExporterConformance",
    "HardwareConformance",
    "LanguageConformance",
    "LanguageModelConformance",
    "LoaderConformance",
    "MetricConformance",
    "ModelConformance",
    "NotApplicable",
    "Outcome",
    "SuiteConformance",
    "TokenizerConformance",
    "ToyArchitecture",
    "ToyConfig",
    "ToyDecoder",
    "ToyLanguageModel",
    "ToyLoader",
    "ToyMetric",
    "ToyTokenizer",
    "ToyTokenizerFamily",
    "TrainerConformance",
    "conformance",
    "declining",
    "require",
    "toy_language",
    "toy_rows",
    "toy_texts",
]

_HOMES = {
    "architecture": ("ArchitectureConformance",),
    "base": ("Conformance", "ConformanceError", "NotApplicable", "Outcome", "declining", "require"),
    "data": ("DatasetConformance", "HardwareConformance", "ModelConformance", "SuiteConformance"),
    "exporter": ("ExporterConformance",),
    "language": ("LanguageConformance",),
    "metric": ("MetricConformance",),
    "model": ("ExecutorConformance", "LanguageModelConformance", "LoaderConformance"),
    "registered": ("conformance",),
    "tokenizer": ("TokenizerConformance",),
    "toy_decoder": ("ToyArchitecture", "ToyConfig", "ToyDecoder"),
    "toys": (
        *("ToyLanguageModel", "ToyLoader", "ToyMetric", "ToyTokenizer", "ToyTokenizerFamily"),
        *("toy_language", "toy_rows", "toy_texts"),
    ),
    "trainer": ("TrainerConformance",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"tilbench.testing.{module}"), name)
    raise AttributeError(f"module 'tilbench.testing' has no attribute {name!r}")
