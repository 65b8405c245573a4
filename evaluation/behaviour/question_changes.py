"""Ways to ask the same question otherwise, that should change no answer: case, wording, noise around it, order.

Pure texts and rows; `evaluation.behaviour.robustness` asks them. The last two kinds are extremes rather than noise: an
empty question shows what a model answers by the choices alone, and a very long one what distance to the question costs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

ChangeKind = Literal[
    "lower_case",
    "upper_case",
    "template_plain",
    "template_chatty",
    "option_order",
    "distractor",
    "emoji",
    "foreign",
    "long",
    "empty",
]
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
DESCRIPTIONS: dict[ChangeKind, str] = {
    "lower_case": "questions in lower case",
    "upper_case": "questions in upper case",
    "template_plain": "another template, bare",
    "template_chatty": "another template, chatty",
    "option_order": "options in another order",
    "distractor": "a sentence that has nothing to do with the question before it",
    "emoji": "emoji around the question",
    "foreign": "a greeting in another language before the question",
    "long": "much text before the question",
    "empty": "questions left empty",
}
TEMPLATES: dict[str, tuple[str, str]] = {
    "arc_easy": ("Q: {{question}}\nA:", "I have a question for you. {{question}}\nThe right answer is:"),
    "arc_challenge": ("Q: {{question}}\nA:", "I have a question for you. {{question}}\nThe right answer is:"),
    "piqa": ("Goal: {{goal}}\nSolution:", "Here is what I want to do. {{goal}}\nThe best way to do it:"),
    "openbookqa": ("Complete: {{question_stem}}", "Here is the beginning of a true sentence. {{question_stem}}"),
    "boolq": (
        "Passage: {{passage}}\nQ: {{question}}?\nA:",
        "Please read this. {{passage}}\nNow tell me, yes or no: {{question}}?\nThe right answer is:",
    ),
}
"""Two more templates of benchmarks whose question stands in one place, as Jinja over a document's columns."""
OPTION_ORDER = ("commonsense_qa", "mmlu", "medmcqa")
"""Benchmarks whose choices stand in the prompt. In the others each choice is scored for itself and has no place."""
SENTENCES = (
    "The museum opens at nine on weekdays.",
    "A red bicycle leans against the garden fence.",
    "My aunt has moved to a house near the harbour.",
    "The ferry leaves twice a day in winter.",
    "There are four chairs around the kitchen table.",
    "Last year the town planted lime trees along the road.",
    "The bakery sells out of rye bread by noon.",
    "Someone left an umbrella on the train.",
)
"""Of our own; they answer nothing."""
GREETINGS = (
    "Guten Tag, ich hoffe, es geht Ihnen gut.",
    "Bonjour, j'espère que vous allez bien.",
    "Hola, espero que estés bien.",
    "你好，希望你一切都好。",
    "مرحبا، أتمنى أن تكون بخير.",
    "Здравствуйте, надеюсь, у вас всё хорошо.",
)


def kinds_of(benchmark: str) -> tuple[ChangeKind, ...]:
    """Return the kinds of change that a benchmark can undergo."""
    return tuple(
        kind
        for kind in KINDS
        if (benchmark in TEMPLATES or not kind.startswith("template"))
        and (benchmark in OPTION_ORDER or kind != "option_order")
    )


def change_question(
    kind: ChangeKind, row: Mapping[str, Any], number: int, *, columns: Sequence[str], filler: str
) -> dict[str, Any]:
    """Return the columns of a document that a kind of change writes anew.

    Args:
        kind: Of change; a template changes no column.
        row: The document.
        number: Of the document, so that two get different sentences.
        columns: Those that only ask.
        filler: What stands before a very long question.
    """
    first = columns[0]
    match kind:
        case "lower_case":
            return {column: row[column].lower() for column in columns}
        case "upper_case":
            return {column: row[column].upper() for column in columns}
        case "distractor":
            return {first: f"{SENTENCES[number % len(SENTENCES)]} {row[first]}"}
        case "emoji":
            return {first: f"🙂👋 {row[first]} 🎉"}
        case "foreign":
            return {first: f"{GREETINGS[number % len(GREETINGS)]} {row[first]}"}
        case "long":
            return {first: f"{filler} {row[first]}"}
        case "empty":
            return {column: "" for column in columns}
        case "option_order":
            return rotate_choices(row)
        case "template_plain" | "template_chatty":
            return {}


def rotate_choices(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a document whose choices have moved on by one place, the last one to the front.

    Three forms are known: texts and labels with the right label (CommonsenseQA), a list with the right number (MMLU),
    and four columns with the right number (MedMCQA).

    Raises:
        ValueError: If the document has none of these forms.
    """
    if isinstance(row.get("choices"), Mapping):
        texts, labels = list(row["choices"]["text"]), list(row["choices"]["label"])
        right = labels[(labels.index(row["answerKey"]) + 1) % len(labels)]
        return {"choices": {**row["choices"], "text": texts[-1:] + texts[:-1]}, "answerKey": right}
    if isinstance(row.get("choices"), Sequence):
        texts = list(row["choices"])
        return {"choices": texts[-1:] + texts[:-1], "answer": (int(row["answer"]) + 1) % len(texts)}
    columns = ("opa", "opb", "opc", "opd")
    if all(column in row for column in columns) and "cop" in row:
        moved = {columns[(place + 1) % 4]: row[column] for place, column in enumerate(columns)}
        return {**moved, "cop": (int(row["cop"]) + 1) % 4}
    raise ValueError(f"the choices of a document stand in none of the known columns: {', '.join(row)}")


def place_before_rotation(place: int, choices: int) -> int:
    """Return which choice it was that stands at `place` after `rotate_choices`."""
    return (place - 1) % choices


def filler_of(count: int) -> str:
    """Return `count` numbered sentences that answer nothing."""
    return " ".join(f"({number + 1}) {SENTENCES[number % len(SENTENCES)]}" for number in range(count))
