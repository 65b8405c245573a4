"""What the keys of `capability` and `behaviour` in `results.json` are called, their units, and which way is better."""

from dataclasses import dataclass
from typing import Literal

from evaluation.benchmark_files import POOLED, benchmark, direction, known_benchmarks
from evaluation.report import words

Form = Literal["share", "percent", "tokens", "plain"]
Told = dict[str, tuple[str, str, Form]]
"""By the rest of a key: name, which way is better, and how it is written."""
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
CALIBRATION: Told = {
    "error": ("Calibration error", "less is better", "share"),
    "overconfidence": ("Confidence less accuracy", "0 is ideal", "share"),
    "brier": ("Brier score", "less is better", "plain"),
}
BIAS: Told = {
    "bbq_ambiguous_accuracy": ("BBQ, nothing told: rightly left open", "more is better", "share"),
    "bbq_ambiguous_bias": ("BBQ, nothing told: bias score", "0 is unbiased", "plain"),
    "bbq_disambiguated_accuracy": ("BBQ, told: answered rightly", "more is better", "share"),
    "bbq_disambiguated_bias": ("BBQ, told: bias score", "0 is unbiased", "plain"),
    "crows_pairs": ("CrowS-Pairs: stereotype preferred", "50% is unbiased", "share"),
    "pronouns_stereotyped": ("Pronoun of the stereotype preferred", "50% is unbiased", "share"),
    "pronouns_masculine": ("Masculine pronoun preferred", "50% is unbiased", "share"),
}
HARM: Told = {
    "toxic_continuations": ("Toxic texts continued toxically", "less is better", "share"),
    "toxic_toxicity": ("Toxicity after toxic texts", "less is better", "plain"),
    "innocent_continuations": ("Innocent texts continued toxically", "less is better", "share"),
    "innocent_toxicity": ("Toxicity after innocent texts", "less is better", "plain"),
    "refused": ("Harmful requests refused", "more is better", "share"),
    "jailbreaks_refused": ("Jailbreaks refused", "more is better", "share"),
    "benign_refused": ("Benign requests refused", "less is better", "share"),
    "injections_followed": ("Carried instructions followed", "less is better", "share"),
}
CHANGES = {
    "lower_case": "lower case",
    "upper_case": "upper case",
    "template_plain": "a bare template",
    "template_chatty": "a chatty template",
    "option_order": "options in another order",
    "distractor": "a distracting sentence",
    "emoji": "emoji",
    "foreign": "a foreign greeting",
    "long": "much text before it",
    "empty": "no question at all",
}
RECITATION: Told = {
    "share": ("Runs of 8 words from the training texts", "less is better", "share"),
    "longest": ("Longest run from the training texts, in words", "less is better", "plain"),
}
RESPONSES: Told = {
    "ended": ("ended by itself", "more is better", "share"),
    "tokens": ("length in tokens", "the teacher's is meant", "tokens"),
    "token_entropy": ("entropy of the next token, in nats", "the teacher's is meant", "plain"),
    "sample_entropy": ("entropy of what is said, in nats", "the teacher's is meant", "plain"),
    "distinct_2": ("different pairs of tokens", "the teacher's is meant", "share"),
    "duplicates": ("said before to the same prompt", "the teacher's is meant", "share"),
    "agreement": ("agreement within a prompt (F1 of words)", "the teacher's is meant", "share"),
    "verified": ("right, by a verifier", "more is better", "share"),
}
FAMILIES = {
    "stereoset": "Stereotypes (StereoSet)",
    "bias": "Bias in questions and sentences",
    "harm": "Harm and refusals",
    "typos": "Questions with typing errors",
    "robustness": "Questions asked otherwise",
    "calibration": "Calibration",
    "generations": "What the models write",
    "recitation": "Recitation of training texts",
    "responses": "Several responses to each prompt",
}
MEANINGS = {
    "bias": (
        "BBQ asks about two people. Where nothing is told, only 'not known' is right, and the bias score is how much "
        "more often the stereotyped answer is given than its opposite; where it is told, the bias score looks at the "
        "answers that name somebody. Both run from -1 (against the stereotype) to 1, and 0 is unbiased; they are over "
        "the questions whose biased answer is known. CrowS-Pairs and the pronouns ask which of two sentences is "
        "likelier. A model that guesses looks unbiased: read the accuracies beside."
    ),
    "harm": (
        "Texts are continued, and the continuation is scored by a classifier that knows words, not meanings. Requests "
        "are answered, and a refusal is found by its phrases; its precision and recall are told under Methods. Nothing "
        "here says that an answer that is no refusal does harm: a small model often does not know how. Read the "
        "difference to the teacher before the value."
    ),
    "robustness": (
        "The same questions asked otherwise, benchmarks together. Answers changed is the share of questions that are "
        "then answered otherwise, rightly or not; accuracy lost is against the same questions as they are. A model "
        "that guesses has no accuracy to lose. Without any question, what is left are the choices alone."
    ),
    "calibration": (
        "Confidence is the probability of the chosen answer over the choices. The calibration error averages its "
        "distance from accuracy over bins of equally many documents; chance alone gives a small set of documents "
        "some. Confidence less accuracy above 0 is a model that is too sure of itself."
    ),
    "recitation": (
        "How much of the answers above stands word for word in the training texts. An answer counts as reciting from "
        "eight words on."
    ),
    "responses": (
        "Every prompt is answered several times, by sampling. A student of the teacher's distribution says what the "
        "teacher says, as often as it says it: not only right answers, but as long, as sure and as varied ones. Read "
        "the differences to the teacher."
    ),
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


_TABLES = {"calibration": CALIBRATION, "bias": BIAS, "harm": HARM, "recitation": RECITATION, "responses": RESPONSES}


@dataclass(frozen=True)
class Measure:
    """How one benchmark or measure of behaviour is written."""

    name: str
    direction: str = ""
    """Which way is meant, in words."""
    form: Form = "plain"
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
    """How a benchmark is written; one that is not packaged, as a share under the name it has in `results.json`."""
    if key == POOLED:
        return Measure("score pooled over benchmarks", "more is better", "share")
    if key not in known_benchmarks():
        return Measure(key, "more is better", "share")
    file = benchmark(key)
    if direction(file) == "lower is better":
        return Measure(file.title, "less is better", "plain")
    return Measure(file.title, "more is better", "share")


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
    if suite == "robustness":
        return _robustness(key, rest)
    known = _TABLES.get(suite, {}).get(rest)
    return Measure(key) if known is None else Measure(*known)


def _robustness(key: str, rest: str) -> Measure:
    for ending, name in (("_accuracy_lost", "accuracy lost"), ("_answers_changed", "answers changed")):
        change = CHANGES.get(rest.removesuffix(ending)) if rest.endswith(ending) else None
        if change:
            return Measure(f"{change[0].upper()}{change[1:]}, {name}", "less is better", "share")
    return Measure(key)


def _typos(rest: str) -> Measure:
    for ending, name in (
        ("_accuracy_lost", "accuracy lost to errors"),
        ("_answers_changed", "answers changed by errors"),
    ):
        if rest.endswith(ending):
            asked = capability_measure(rest.removesuffix(ending)).name
            return Measure(f"{asked}, {name}", "less is better", "share")
    return Measure(f"{capability_measure(rest).name}, accuracy with errors", "more is better", "share")


def family(key: str) -> str:
    """The suite that a measure of behaviour belongs to."""
    return key.partition("_")[0]


def measure(section: str, key: str) -> Measure:
    """How the measure `key` of a section of `results.json` is written."""
    return capability_measure(key) if section == "capability" else behaviour_measure(key)
