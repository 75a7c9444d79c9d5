"""The settings of decoding are the same wherever they are read: suites, specs, sweeps, Transformers' files."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from tilbench.checkpoints.generation import GENERATION, generation_config, read_generation_config
from tilbench.config.decoding import SAMPLING, TRANSFORMERS, Decoding, Recommended, Sampling
from tilbench.config.sweep import Sweep
from tilbench.config.yaml import validate
from tilbench.errors import ConfigError
from tilbench.generation.opened import DecodingOptions
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.loader import load_plugins

NAMES = [field.name for field in fields(Decoding)]
BAD: dict[str, Any] = {
    "temperature": -0.1,
    "top_k": -1,
    "top_p": 0.0,
    "repetition_penalty": 0.0,
    "no_repeat_ngram": -1,
    "max_new_tokens": 0,
}
SETTINGS: list[type[BaseModel]] = [
    metric.Settings
    for _, metric in load_plugins().registry.metrics.all()
    if set(NAMES) <= set(metric.Settings.model_fields)
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schema", [Recommended, Decoding, *SETTINGS])
def test_a_setting_has_one_range(schema: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' is "):
        validate({name: BAD[name]}, schema, "here")
    with pytest.raises(ConfigError, match="unknown field 'heat'"):
        validate({"heat": 1}, schema, "here")


def test_more_than_one_metric_asks_for_texts() -> None:
    assert len(SETTINGS) > 3


@pytest.mark.parametrize("schema", SETTINGS)
def test_the_settings_of_a_metric_become_its_decoding(schema: type[BaseModel]) -> None:
    settings = schema(max_new_tokens=7, temperature=0.5, top_k=3, top_p=0.9, repetition_penalty=1.5, no_repeat_ngram=2)
    assert Decoding.of(settings) == Decoding(
        max_new_tokens=7, temperature=0.5, top_k=3, top_p=0.9, repetition_penalty=1.5, no_repeat_ngram=2
    )


def test_python_and_transformers_know_every_setting() -> None:
    hints = get_type_hints(Decoding)
    assert get_type_hints(DecodingOptions) == {name: hints[name] for name in NAMES}
    assert list(TRANSFORMERS) == NAMES
    assert set(NAMES) - set(SAMPLING) == {"max_new_tokens"}


def test_what_a_model_comes_with_is_sampled_at_1_where_it_says_no_temperature() -> None:
    assert TypeAdapter(Recommended).validate_python({"top_p": 0.9}) == Recommended(temperature=1.0, top_p=0.9)


def test_a_preset_has_no_limit_of_its_own() -> None:
    with pytest.raises(ValueError, match="max_new_tokens"):
        Sweep.model_validate({"presets": {"greedy": {"max_new_tokens": 3}}})


@given(
    st.builds(
        Recommended,
        temperature=st.floats(0, 2),
        top_k=st.integers(0, 99),
        top_p=st.floats(0.1, 1),
        repetition_penalty=st.floats(0.5, 2),
        no_repeat_ngram=st.integers(0, 9),
        max_new_tokens=st.integers(1, 99),
    )
)
def test_generation_config_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, settings: Recommended
) -> None:
    folder: Path = tmp_path_factory.mktemp("written")
    config = generation_config(settings, SpecialTokens(eos=2), max_new_tokens=settings.max_new_tokens)
    (folder / GENERATION).write_text(json.dumps(config), encoding="utf-8")
    found = read_generation_config(folder).generation
    assert found == (settings if settings.temperature else replace(settings, top_k=0, top_p=1.0))


def test_sampling_is_a_part_of_decoding() -> None:
    assert isinstance(Decoding(), Sampling)
    assert [field.name for field in fields(Sampling)] == list(SAMPLING)
