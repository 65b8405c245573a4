"""What the keys of `capability` and `behaviour` in `results.json` are called, their units, and which way is better."""

from dataclasses import dataclass
from typing import Literal

from evaluation.benchmark_files import POOLED
from evaluation.report import words

BENCHMARKS = {
    "arc_easy": "ARC-Easy",
    "arc_challenge": "ARC-Challenge",
    "boolq": "BoolQ",
    "hellaswag": "HellaSwag",
    "openbookqa": "OpenBookQA",
    "piqa": "PIQA",
    "sciq": "SciQ",
    "winogrande": "WinoGrande",
    POOLED: "all of them, pooled",
}
STEREOSET = {
    "language_model_score": ("StereoSet language model score", "100 is ideal"),
    "stereotype_score": ("StereoSet stereotype score", "50 is unbiased"),
    "icat": ("StereoSet ICAT", "100 is ideal"),
}
GENERATIONS = {
    "ends_itself": ("ends by itself", "more is better"),
    "tokens": ("length in tokens", "neither way is better"),
    "repetition": ("repetition", "less is better"),
}
FAMILIES = {
    "stereoset": "Stereotypes (StereoSet)",
    "typos": "Questions with typing errors",
    "generations": "What the models write",
}
MEANINGS = {
    "stereoset": (
        "StereoSet offers a stereotyped, an anti-stereotyped and a meaningless completion. The language model score is "
        "how often a meaningful one is preferred (100 is ideal). The stereotype score is how often the stereotyped one "
        "is preferred to the anti-stereotyped: 50 is unbiased, either side of it is a bias. ICAT joins the two: 100 is "
        "ideal, and 0 is a model that always prefers the stereotype, or never. All three are means over target terms: "
        "for their errors a term with its triples is one document."
    ),
    "typos": (
        "The same questions asked with typing errors in them. Accuracy lost is what each model loses to the errors, "
        "against its own accuracy on the clean questions: near 0 is robust, and a model that guesses has nothing to "
        "lose. Answers changed is the share of questions that it then answers otherwise, rightly or not."
    ),
    "generations": (
        "Answers to the same prompts, greedy (always the most likely token) and sampled. The share that ends by itself "
        "stopped before it was cut. Repetition "
        "is text that says again what it said before. Nothing here says whether an answer is right: read them below."
    ),
}


@dataclass(frozen=True)
class Measure:
    """How one benchmark or measure of behaviour is written."""

    name: str
    direction: str = ""
    """Which way is meant, in words."""
    form: Literal["share", "percent", "tokens", "plain"] = "plain"
    """`share` is between 0 and 1 and written in percent; `percent` is so already."""

    def value(self, number: float) -> str:
        """A value in its unit."""
        match self.form:
            case "share":
                return words.percent(number)
            case "percent" | "tokens":
                return words.fixed(number, 1)
        return words.fixed(number)

    def size(self, number: float) -> str:
        """A distance between two values, without its unit."""
        return words.fixed(100 * number, 1) if self.form == "share" else self.value(number)

    def difference(self, number: float) -> str:
        """A difference between two values, with its sign and without its unit."""
        return ("+" if number > 0 else "") + self.size(number)

    @property
    def difference_unit(self) -> str:
        """Unit of a difference."""
        return {"share": "points", "percent": "points", "tokens": "tokens", "plain": ""}[self.form]


def capability_measure(key: str) -> Measure:
    """How a benchmark of lm-eval is written; all of them are shares of documents."""
    return Measure(BENCHMARKS.get(key, key), "more is better", "share")


def behaviour_measure(key: str) -> Measure:
    """How a measure of behaviour is written; one that is unknown here as it is called in `results.json`."""
    suite, _, rest = key.partition("_")
    if suite == "stereoset" and rest in STEREOSET:
        return Measure(*STEREOSET[rest], "percent")
    if suite == "typos" and rest:
        return _typos(rest)
    manner, _, part = rest.partition("_")
    if suite == "generations" and part in GENERATIONS:
        name, direction = GENERATIONS[part]
        return Measure(f"{manner.capitalize()} answers, {name}", direction, "tokens" if part == "tokens" else "share")
    return Measure(key)


def _typos(rest: str) -> Measure:
    for ending, name in (
        ("_accuracy_lost", "accuracy lost to errors"),
        ("_answers_changed", "answers changed by errors"),
    ):
        if rest.endswith(ending):
            benchmark = rest.removesuffix(ending)
            return Measure(f"{BENCHMARKS.get(benchmark, benchmark)}, {name}", "less is better", "share")
    return Measure(f"{BENCHMARKS.get(rest, rest)}, accuracy with errors", "more is better", "share")


def family(key: str) -> str:
    """The suite that a measure of behaviour belongs to."""
    return key.partition("_")[0]


def measure(section: str, key: str) -> Measure:
    """How the measure `key` of a section of `results.json` is written."""
    return capability_measure(key) if section == "capability" else behaviour_measure(key)
