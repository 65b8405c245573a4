"""Stage: problems become documents with a rationale each, written by a program or the teacher, and checked.

Only what ends in the right answer is kept (rejection sampling; Zelikman et al., 2022, arXiv:2203.14465). The documents
have one of two forms: the rationale and then the answer as one sequence, or two tasks, of which one asks for the
answer alone and one for the rationale (Hsieh et al., 2023, arXiv:2305.02301).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.data.document import Document, LossTask, read_documents, write_documents
from stillhouse.data.hopeless import ENOUGH
from stillhouse.data.splits import SPLITS
from stillhouse.errors import InputError
from stillhouse.reasoning.problems import (
    ASK_ANSWER,
    ASK_STEPS,
    Problem,
    check_steps,
    is_right,
    read_problems,
    write_steps,
)
from stillhouse.reasoning.steps import Trace, read, spell
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.data import Data, names_of
from stillhouse.recipe.reasoning import GroundTruth, Reasoning, TeacherTraces
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, WORK, Inputs
from stillhouse.teachers.traces import Drawing, Drawn, draw_traces

_EXAMPLES = 3
_SHOWN_CHARACTERS = 160


class RationaleSettings(Settings):
    """Which sets have rationales, by the names that their documents begin with. Made by `rationale_settings`."""

    sets: dict[str, Reasoning]
    compute: Compute | None
    """Where the teacher runs; `None` where a program writes all rationales."""


@dataclass(frozen=True)
class _Judged:
    """A trace, and what is held against it."""

    problem: Problem
    text: str
    ended: bool
    right_answer: bool
    right_steps: bool
    kept: bool


def rationale_settings(data: Data, compute: Compute) -> RationaleSettings | None:
    """The part of a recipe that decides its rationales; `None` where no set has any."""
    named = zip(names_of(data.sets), data.sets, strict=True)
    sets = {name: each for name, each in named if isinstance(each, Reasoning)}
    if not sets:
        return None
    asks = any(isinstance(each.rationales, TeacherTraces) for each in sets.values())
    return RationaleSettings(sets=sets, compute=compute if asks else None)


def write_rationales(settings: RationaleSettings, inputs: Inputs, folder: Path) -> None:
    """Write `<split>.jsonl` of the problems' documents, in the order of the problems.

    `facts.json` holds by set and family the tasks, the traces, how many of them ended, how many had the right answer
    and how many right steps throughout, and how many were kept.

    Args:
        settings: Which sets.
        inputs: `documents`, whose problems are solved, and `teacher` where it writes.
        folder: Gets the documents; may hold what a killed run finished.

    Raises:
        InputError: If a set has no problem left; if no trace of a set is kept, which is found out after those of
            `ENOUGH` problems; or the teacher has no chat template.
    """
    waiting = {split: _problems(inputs["documents"] / f"{split}.jsonl") for split in SPLITS}
    written: dict[str, list[Document]] = {}
    facts = {}
    for name, asked in settings.sets.items():
        tasks = read_problems(asked)
        ids = [each.id for split in SPLITS for each in waiting[split] if each.set_name == name]
        if not ids:
            raise InputError(
                f"of the set {name} no problem is left: another set or a benchmark has the same questions, or "
                "data.selection leaves them out; give it another seed or other families, or leave it out"
            )
        problems = {each: tasks[int(each.rpartition("/")[2])] for each in ids}
        drawn = _draw(settings, asked, inputs, problems, folder / WORK / name)
        judged = _judge_all(name, asked, problems, drawn)
        written |= {each: list(_documents(asked, each, judged[each])) for each in ids}
        facts[name] = _facts(judged.values())
    for split in SPLITS:
        solved = [document for each in waiting[split] for document in written.get(each.id, ())]
        write_documents(folder / f"{split}.jsonl", solved)
    (folder / FACTS).write_text(json.dumps({"sets": facts}, indent=1), encoding="utf-8")


def _judge_all(
    name: str, asked: Reasoning, problems: Mapping[str, Problem], drawn: Iterable[Sequence[Drawn]]
) -> dict[str, list[_Judged]]:
    """Judge traces as they come, so that a teacher that is never right is found out before all are drawn."""
    judged: dict[str, list[_Judged]] = {}
    traces: list[_Judged] = []
    any_kept = False
    for (each, problem), said in zip(problems.items(), drawn, strict=True):
        judged[each] = judge(asked, problem, said)
        traces += judged[each]
        any_kept = any_kept or any(one.kept for one in judged[each])
        is_all = len(judged) == len(problems)
        if not any_kept and (is_all or len(judged) >= ENOUGH):
            raise _none_kept(name, asked, traces, is_all=is_all)
    return judged


def judge(asked: Reasoning, problem: Problem, drawn: Sequence[Drawn]) -> list[_Judged]:
    """Judge each trace of a problem; of right ones that are alike, only the first is kept."""
    judged, known = [], set()
    for text, ended in drawn:
        trace = read(text)
        right_answer = is_right(problem, trace.answer)
        right_steps = bool(trace.steps) and check_steps(problem, trace.steps).sound
        good = right_answer and bool(trace.steps) and (right_steps or not _wants_steps(asked))
        plain = _plain(trace)
        judged.append(_Judged(problem, plain, ended, right_answer, right_steps, good and plain not in known))
        if good:
            known.add(plain)
    return judged


def _problems(path: Path) -> list[Document]:
    """Each problem once, however often it is to be seen."""
    return list({document.id: document for document in read_documents(path) if document.kind == "problem"}.values())


def _draw(
    settings: RationaleSettings, asked: Reasoning, inputs: Inputs, problems: Mapping[str, Problem], work: Path
) -> Iterable[Sequence[Drawn]]:
    """Of each problem in order what was written; of a teacher's as it is drawn."""
    match asked.rationales:
        case GroundTruth():
            texts = (spell(write_steps(problem) or (), problem.answer) for problem in problems.values())
            return [[Drawn(text, ended=True)] for text in texts]
        case TeacherTraces() as traces:
            assert settings.compute is not None
            drawing = Drawing(traces, settings.compute)
            return draw_traces(drawing, inputs["teacher"], list(problems.values()), work)


def _wants_steps(asked: Reasoning) -> bool:
    # A program's steps are checked too: a writer and a checker that disagree are found at once.
    return asked.rationales.kind == "ground_truth" or asked.rationales.right_steps


def _plain(trace: Trace) -> str:
    """A trace without what stands around it: blank lines, and whatever follows the answer."""
    return "\n".join(trace.steps) if trace.answer is None else spell(trace.steps, trace.answer)


def _documents(asked: Reasoning, document_id: str, judged: Sequence[_Judged]) -> Iterator[Document]:
    kept = [one for one in judged if one.kept]
    if not kept:
        return
    problem = kept[0].problem
    share = asked.rationale_share
    two = asked.form == "two_tasks"
    if two:
        yield _turns(document_id, ASK_ANSWER, problem, problem.answer, LossTask("answer", 1 - share))
    for one in kept:
        yield _turns(document_id, ASK_STEPS, problem, one.text, LossTask("rationale", share) if two else None)


def _turns(document_id: str, ask: str, problem: Problem, said: str, task: LossTask | None) -> Document:
    turns = (
        {"role": "user", "content": f"{ask}\n{problem.question}"},
        {"role": "assistant", "content": said},
    )
    return Document(document_id, "messages", turns, task=task)


def _none_kept(name: str, asked: Reasoning, judged: Sequence[_Judged], *, is_all: bool) -> InputError:
    answers = sum(one.right_answer for one in judged)
    cut_off = sum(not one.ended for one in judged)
    examples = "; ".join(
        f"{one.problem.family}, the answer is {one.problem.answer!r}, and it wrote {one.text[:_SHOWN_CHARACTERS]!r}"
        for one in judged[:: max(1, len(judged) // _EXAMPLES)][:_EXAMPLES]
    )
    return InputError(
        f"of the {'' if is_all else 'first '}{len(judged)} rationales of the set {name} none was kept: {answers} had "
        f"the right answer ({answers / len(judged):.1%}), and 1 is needed: {examples}; "
        f"{_longer(asked.rationales, cut_off / len(judged))}take a stronger teacher or easier families, or say "
        "rationales: {kind: ground_truth}"
    )


def _longer(rationales: GroundTruth | TeacherTraces, cut_off: float) -> str:
    """What to do about traces that did not come to their answer; nothing where all did."""
    if cut_off == 0 or not isinstance(rationales, TeacherTraces):
        return ""
    most = rationales.max_new_tokens
    return f"{cut_off:.0%} were cut off at rationales.max_new_tokens {most}, before they ended: raise it, or "


def _facts(judged: Iterable[list[_Judged]]) -> dict[str, dict[str, float]]:
    """Counts and the kept share, by family."""
    by_family: dict[str, list[list[_Judged]]] = {}
    for found in judged:
        by_family.setdefault(found[0].problem.family, []).append(found)
    return {family: _counted(found) for family, found in by_family.items()}


def _counted(tasks: Sequence[Sequence[_Judged]]) -> dict[str, float]:
    traces = [one for found in tasks for one in found]
    return {
        "tasks": len(tasks),
        "solved": sum(any(one.kept for one in found) for found in tasks),
        "traces": len(traces),
        "ended": sum(one.ended for one in traces),
        "right_answers": sum(one.right_answer for one in traces),
        "right_steps": sum(one.right_steps for one in traces),
        "kept": sum(one.kept for one in traces),
        "kept_share": sum(one.kept for one in traces) / len(traces),
    }
