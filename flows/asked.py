"""What a person asks for in a form: a recipe that ships or one of their own."""

from pathlib import Path
from typing import Literal, get_args

from prefect.runtime import flow_run

from stillhouse.errors import InputError
from stillhouse.store.fingerprint import PROJECT_ROOT

Preset = Literal["demo", "tiny", "smollm2-1.7b-to-360m"]

Benchmark = Literal[
    "arc_easy",
    "piqa",
    "hellaswag",
    "boolq",
    "winogrande",
    "openbookqa",
    "arc_challenge",
    "basic_skills_arithmetic",
    "basic_skills_coding",
    "basic_skills_common_knowledge",
    "basic_skills_logical_reasoning",
    "basic_skills_pattern",
    "basic_skills_string_operations",
    "commonsense_qa",
    "copa",
    "gsm8k_bits_per_byte",
    "gsm8k_cot_zeroshot",
    "humaneval",
    "lambada_openai",
    "math_bits_per_byte",
    "mbpp",
    "medmcqa",
    "mmlu",
    "needle",
    "nq_open",
    "pubmedqa",
    "reasoning_answers",
    "reasoning_gym",
    "reasoning_sound",
    "reasoning_steps",
    "sciq",
    "squad",
    "sst2",
    "triviaqa",
]
"""The files of `evaluation/benchmarks/`; the first six are what is usual."""


def recipe_path(preset: Preset, recipe: str | None) -> Path:
    """Where the recipe lies that was asked for; a path goes before the preset."""
    if recipe:
        return Path(recipe)
    if preset not in get_args(Preset):
        raise InputError(f"there is no preset {preset!r}; take one of {', '.join(get_args(Preset))}")
    return PROJECT_ROOT / "recipes" / f"{preset}.yaml"


def name_of_run() -> str:
    """Name a flow run in the UI: the flow, and what it works on."""
    asked = flow_run.parameters
    for subject in (asked.get("model"), asked.get("source"), asked.get("recipe")):
        if subject:
            return f"{flow_run.flow_name}-{Path(subject).name.removesuffix('.yaml')}"
    return f"{flow_run.flow_name}-{asked.get('preset', '')}"
