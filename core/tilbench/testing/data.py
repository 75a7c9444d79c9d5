"""What datasets, model specs, suites and hardware profiles must be: things that are declared, not computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from tilbench.config.model import Precision
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import find_file, load_rows
from tilbench.data.rows import Row
from tilbench.errors import Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench.testing.base import Conformance, NotApplicable, require

if TYPE_CHECKING:
    from tilbench.config.model import ModelSpec
    from tilbench.registry import Registry

__all__ = ["DatasetConformance", "HardwareConformance", "ModelConformance", "SuiteConformance"]


class DatasetConformance(Conformance):
    """Checks of a dataset. name: the one it is registered under. data_dir: searched for it first.

    A dataset on the Hub is not fetched: its rows are checked where the data directory has them.
    """

    subject: Dataset
    name: str = "dataset"
    data_dir: Path | None = None

    def test_declares_what_it_is(self) -> None:
        """It names its kind of rows and its language."""
        for field in ("kind", "language"):
            require(getattr(self.subject, field), f"{field!r} is not stated")

    def test_licence_is_stated(self) -> None:
        """Rows that are shipped in a package state their licence."""
        if self.subject.package:
            require(self.subject.licence, "'licence' is not stated, and the rows are shipped in a package")
        elif not self.subject.licence:
            raise NotApplicable("no licence is stated: ask its makers before you share what is made of it")

    def test_rows_load(self) -> None:
        """Every row is of its kind and complete, and no id occurs twice."""
        require(self._rows(), "it has no rows")

    def test_no_row_twice(self) -> None:
        """No two rows that are shipped in a package are alike but for their ids."""
        if not self.subject.package:
            raise NotApplicable("it is what its makers published")
        seen: dict[Any, str] = {}
        for row in self._rows():
            bare = replace(row, id="")
            require(bare not in seen, f"rows {seen.get(bare)} and {row.id} are the same")
            seen[bare] = row.id

    def _rows(self) -> Sequence[Row]:
        here = on_this_machine(self.name, self.subject, self.data_dir)
        if here is None:
            raise NotApplicable("it is not on this machine; name a folder that holds it with --data")
        return load_rows(self.name, here, self.data_dir).rows


def on_this_machine(name: str, dataset: Dataset, data_dir: Path | None) -> Dataset | None:
    """Return the dataset as it can be read without a network; None where it cannot."""
    if data_dir is not None:
        hub = (
            "/".join(part for part in (dataset.hub, dataset.config, dataset.split) if part)
            if dataset.hub
            else dataset.stored_as or name
        )
        for local in (dataset.stored_as or name, hub):
            plain = not Path(local).is_absolute() and not local.startswith(".")
            if plain and (file := find_file(data_dir, local)):
                return replace(dataset, hub="", package="", file="", path=str(file))
    return dataset if dataset.package or dataset.path else None


class ModelConformance(Conformance):
    """Checks of a model spec, and of each of its variants, against what is registered."""

    name: str
    registry: Registry

    def specs(self) -> list[tuple[str, ModelSpec]]:
        """Return the spec and its variants, by label."""
        from tilbench.config.references import SpecReference
        from tilbench.resolve.specs import load_spec, variants

        labels = [SpecReference(self.name, variant) for variant in ("", *variants(self.name, self.registry))]
        return [(reference.label, load_spec(reference, self.registry)) for reference in labels]

    def test_spec_loads(self) -> None:
        """The file and every variant of it are valid, and it is named as it is registered."""
        for label, spec in self.specs():
            require(spec.name == self.name, f"{label}: its name is {spec.name!r}, registered as {self.name!r}")

    def test_names_are_registered(self) -> None:
        """Architecture, tokenizer family, trainer, hardware and languages are names that exist."""
        for _, spec in self.specs():
            self.registry.architectures.entry(spec.architecture.name)
            self.registry.tokenizers.entry(spec.tokenizer.family)
            if spec.recipe:
                self.registry.trainers.entry(spec.recipe.trainer)
            if spec.hardware:
                self.registry.hardware.entry(spec.hardware)
            for tag in spec.languages:
                self.registry.languages.entry(tag)

    def test_configs_are_valid(self) -> None:
        """The architecture takes the config, and its vocabulary has room for the tokenizer's."""
        for label, spec in self.specs():
            config = self._architecture(spec).Config(**spec.architecture.config)
            wanted = spec.tokenizer.options.get("vocab_size", 0)
            fits = wanted <= config.vocab_size
            require(fits, f"{label}: the tokenizer has {wanted:,} entries and the embedding {config.vocab_size:,}")
            if spec.recipe and not spec.recipe.adapter:
                length = spec.recipe.sequence_length
                fits = length <= config.max_length
                require(fits, f"{label}: sequences of {length} tokens, and the model attends over {config.max_length}")

    def test_tokenizer_options_are_valid(self) -> None:
        """The tokenizer's family takes the options, or recognises the reference."""
        for _, spec in self.specs():
            family = self.registry.tokenizers.get(spec.tokenizer.family)
            if family.trainable and not spec.tokenizer.reference:
                family.Options.model_validate(spec.tokenizer.options)

    def test_parameter_count_is_as_stated(self) -> None:
        """The architecture's formula gives the parameters that the spec states."""
        stated = [(label, spec) for label, spec in self.specs() if spec.parameters is not None]
        if not stated:
            raise NotApplicable("the spec states no parameter count")
        for label, spec in stated:
            architecture = self._architecture(spec)
            formula = architecture.parameters(architecture.Config(**spec.architecture.config))
            require(formula == spec.parameters, f"{label}: the formula gives {formula:,}, the spec {spec.parameters:,}")

    def _architecture(self, spec: ModelSpec) -> Any:
        return self.registry.architectures.get(spec.architecture.name)


class SuiteConformance(Conformance):
    """Checks of a suite: every task of it can be planned with what is registered."""

    name: str
    registry: Registry
    data_dir: Path | None = None

    def test_tasks_can_be_planned(self) -> None:
        """Metrics, datasets, languages and settings of every task exist and fit together.

        Rows are read where they are on this machine; nothing is fetched.
        """
        from tilbench.config.suite import HarnessTask
        from tilbench.config.yaml import validate
        from tilbench.evaluation.plan import plan_tasks
        from tilbench.resolve.datasets import find_dataset
        from tilbench.resolve.suites import expand_suite, find_suite

        suite = expand_suite(find_suite(self.name, self.registry), self.registry)
        for task in suite.tasks:
            metric = self.registry.metrics.get(task.metric)
            validate(task.settings, metric.Settings, f"task {task.name}: settings of {task.metric}")
            if isinstance(task, HarnessTask):
                plan_tasks(suite, [task], self.registry, self.data_dir, limit=2)
                continue
            used = [each for each in (task.dataset, task.examples) if each is not None]
            found = [find_dataset(each, self.registry, self.data_dir) for each in used]
            if tag := task.language or found[0][1].language:
                self.registry.languages.get(tag)
            kind = found[0][1].kind
            fits = kind is None or kind in metric.rows
            require(fits, f"task {task.name}: {task.metric} scores {sorted(metric.rows)}, not {kind}")
            if all(on_this_machine(name, dataset, self.data_dir) for name, dataset in found):
                plan_tasks(suite, [task], self.registry, self.data_dir, limit=2)

    def test_its_own_datasets_exist(self) -> None:
        """Text that baselines learn from is a dataset that exists."""
        from tilbench.resolve.datasets import find_dataset
        from tilbench.resolve.suites import find_suite

        for name in find_suite(self.name, self.registry).reference_text:
            find_dataset(name, self.registry, self.data_dir)


class HardwareConformance(Conformance):
    """Checks of a hardware profile."""

    settable: ClassVar[tuple[str, ...]] = ()
    subject: HardwareProfile

    def test_figures_are_positive(self) -> None:
        """Memory, rates, bandwidth and price are positive numbers, and there is at least one device."""
        profile = self.subject
        figures = {
            "count": profile.count,
            "memory_gib": profile.memory_gib,
            "bandwidth_gbs": profile.bandwidth_gbs,
            "price_per_hour": profile.price_per_hour,
            **{f"peak_tflops of {name}": rate for name, rate in profile.peak_tflops.items()},
        }
        for name, value in figures.items():
            good = value is None or (math.isfinite(value) and value > 0)
            require(good, f"{name} is {value}, not a positive number")

    def test_device_and_precisions_are_known(self) -> None:
        """The device is one of torch's, and the precisions are those of recipes, so that utilisation is found."""
        import torch

        try:
            torch.device(self.subject.device)
        except RuntimeError:
            require(False, f"torch knows no device {self.subject.device!r}")
        unknown = sorted(self.subject.precisions - set(get_args(Precision)))
        require(not unknown, f"no recipe has the precision {unknown[0] if unknown else ''!r}")

    def test_source_is_stated(self) -> None:
        """Where the figures are from is stated."""
        require(self.subject.source.strip(), "'source' is empty: say where the figures are from")

    def test_utilisation_is_a_share(self) -> None:
        """Half of the peak rate is a utilisation of one half."""
        for name, rate in self.subject.peak_tflops.items():
            share = self.subject.mfu(rate * 1e12 * self.subject.count / 2, name)
            require(share is not None and math.isclose(share, 0.5), f"half of the peak in {name} is mfu {share}")


def hardware_subject(registry: Registry, name: str) -> HardwareProfile:
    """Return a registered profile. Raises NotApplicable for a machine that this one is not."""
    try:
        profile: HardwareProfile = registry.hardware.get(name)
    except Unsupported as error:
        raise NotApplicable(str(error)) from None
    return profile
