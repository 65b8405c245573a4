"""What a student started from, in sentences that the recipe's own settings fill in."""

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.report import words

_SIZES = {
    "layers": "layers",
    "hidden_size": "hidden channels",
    "feed_forward_size": "feed-forward channels a layer",
    "attention_heads": "query heads a layer",
    "key_value_heads": "key/value heads a layer",
}


def start(student: Mapping[str, Any], refit: Mapping[str, Any] | None = None) -> Iterator[str]:
    """How the start was made, one sentence at a time.

    Args:
        student: The recipe's section; nothing is said of one that is empty.
        refit: The recipe's section, where there is one.
    """
    yield from _cut(student)
    if refit:
        yield (
            "Then the last linear layer of each block from the first gap on was fitted by least squares, without a "
            f"gradient, to what the teacher says there, on {words.number(refit.get('tokens'))} training tokens."
        )


def _cut(student: Mapping[str, Any]) -> Iterator[str]:
    match student.get("kind"):
        case "depth":
            yield f"The student starts as the teacher with {student.get('layers')} of its layers: {_ranking(student)}."
        case "width":
            yield f"The student starts as the teacher made narrower{_asked(student)}. {_statistics(student)}"
        case "depth_and_width":
            yield f"The student starts as the teacher with fewer layers, made narrower{_asked(student)}."
            yield f"Layers go first: {_ranking(student)}. {_statistics(student)}"
        case "low_rank":
            ranks = student.get("ranks") or {"kind": "parameters", "share": 0.8}
            what = "parameters" if ranks["kind"] == "parameters" else "output"
            share = f"{100 * ranks['share']:g}% of their {what}"
            if cut := student.get("cut"):
                yield from _cut(cut)
                yield (
                    f"Then its linear layers were cut to a low rank, {share}, each trained by itself to what the "
                    "teacher's layer at its place says. What is saved is the product of its factors, so the student is "
                    "no smaller for it; and distillation after it trains whole layers."
                )
            else:
                yield (
                    f"The student starts as the teacher with linear layers of low rank, {share}, each trained by "
                    "itself to what the teacher's layer says. What is saved is the product of its factors, so the "
                    "student is as large as its teacher; and distillation after it trains whole layers."
                )
        case "fresh":
            own = student.get("tokenizer", "teacher")
            tokenizer = "the teacher's tokenizer"
            if isinstance(own, Mapping):
                size = words.number(own["vocabulary"])
                tokenizer = f"a tokenizer of at most {size} tokens that was trained on the training documents"
            yield f"The student starts with random weights and {tokenizer}, {_architecture(student)}."
        case _ if student.get("source"):
            is_own = student.get("tokenizer") == "own"
            tokenizer = "with a tokenizer of its own" if is_own else "a model that shares the teacher's tokenizer"
            yield f"The student starts as {student['source']}, {tokenizer}."


def dropped(method: str) -> str:
    """Why the layers went that did, to follow the word *because*."""
    if method == "greedy":
        return "what was left missed each of them least, one after the other"
    return "the teacher misses them least"


def narrowed(widths: Mapping[str, Any] | None) -> str:
    """What became of every width, in one sentence; empty where nothing was made narrower.

    Args:
        widths: Content of `widths.json`.
    """
    if not widths:
        return ""
    before, after = widths["teacher"], widths["student"]
    parts = []
    for key, name in (*_SIZES.items(), ("queries_per_head", "query heads to each of these")):
        if key in after and key != "layers":
            same = after[key] == before[key]
            parts.append(f"{name} {words.number(after[key])}" + ("" if same else f" of {words.number(before[key])}"))
    return f"What is left of the teacher's widths: {words.listed(parts)}."


def _ranking(student: Mapping[str, Any]) -> str:
    tokens = words.number(student.get("ranking_tokens"))
    if student.get("ranking") == "greedy":
        return (
            f"on {tokens} training tokens each layer was left out in turn, the one went whose absence raises the loss "
            "least, and what was left was measured again"
        )
    return (
        f"each layer was left out in turn on {tokens} training tokens, and those stay whose absence raises the loss "
        "most"
    )


def _asked(student: Mapping[str, Any]) -> str:
    parts = [f"{words.number(student[key])} {name}" for key, name in _SIZES.items() if student.get(key)]
    if student.get("parameters"):
        parts.append(f"at most {words.number(student['parameters'])} parameters")
    if student.get("parameters_share"):
        parts.append(f"at most {100 * student['parameters_share']:g}% of its parameters")
    return f" ({words.listed(parts)})" if parts else ""


def _statistics(student: Mapping[str, Any]) -> str:
    size = "mean size" if student.get("statistic") == "mean_absolute" else "root mean square"
    return (
        f"Those channels and heads stay whose activations have the largest {size} on "
        f"{words.number(student.get('statistics_tokens'))} training tokens, a key/value head together with the query "
        "heads that share it; each norm is rescaled to what it gave before."
    )


def _architecture(student: Mapping[str, Any]) -> str:
    config = student.get("config")
    if isinstance(config, Mapping):
        return f"as a model of type {config.get('model_type')}"
    sizes = [f"{words.number(student[key])} {name}" for key, name in _SIZES.items() if student.get(key)]
    return f"in the teacher's architecture with {words.listed(sizes)}" if sizes else "in the teacher's architecture"
