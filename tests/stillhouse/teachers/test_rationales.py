import json

import pytest

from stillhouse.data.document import LossTask, problem, read_documents, write_documents
from stillhouse.data.encode import _with_answers
from stillhouse.errors import InputError
from stillhouse.reasoning.problems import ASK_ANSWER, ASK_STEPS, is_right, read_problems, write_steps
from stillhouse.reasoning.steps import read, spell
from stillhouse.recipe.compute import Compute
from stillhouse.recipe.reasoning import Reasoning, TeacherTraces
from stillhouse.teachers import rationales, traces
from stillhouse.teachers.rationales import RationaleSettings, judge, write_rationales
from stillhouse.teachers.traces import Drawn

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
TEACHER = TeacherTraces(samples=3, max_new_tokens=4, batch_size=4)


def ended(*texts: str) -> list[Drawn]:
    return [Drawn(text, ended=True) for text in texts]


@pytest.fixture
def write(tmp_path, roomy_model):
    def run(asked: Reasoning, name: str = "rationales"):
        documents, folder = tmp_path / "documents", tmp_path / name
        for each in (documents, folder):
            each.mkdir(exist_ok=True)
        questions = [problem(f"reasoning/{n}", each.question) for n, each in enumerate(read_problems(asked))]
        for split, part in (("train", questions[2:]), ("validation", questions[:1]), ("held_out", questions[1:2])):
            write_documents(documents / f"{split}.jsonl", part)
        compute = None if asked.rationales.kind == "ground_truth" else COMPUTE
        settings = RationaleSettings(sets={"reasoning": asked}, compute=compute)
        write_rationales(settings, {"documents": documents, "teacher": roomy_model}, folder)
        found = {split: list(read_documents(folder / f"{split}.jsonl")) for split in ("train", "validation")}
        return found, json.loads((folder / "facts.json").read_text())["sets"]["reasoning"]

    return run


def test_one_sequence_ends_its_rationale_in_the_answer(write):
    asked = Reasoning(tasks=14)
    found, facts = write(asked)
    tasks = read_problems(asked)
    assert [document.id for document in found["train"]] == [f"reasoning/{n}" for n in range(2, 14)]
    for document, solved in zip(found["train"], tasks[2:], strict=True):
        question, said = document.messages
        assert question["content"] == f"{ASK_STEPS}\n{solved.question}"
        assert said["content"] == spell(write_steps(solved), solved.answer)
        assert document.task is None
    assert facts["chain_sum"] == {
        "tasks": 3,
        "solved": 3,
        "traces": 3,
        "ended": 3,
        "right_answers": 3,
        "right_steps": 3,
        "kept": 3,
        "kept_share": 1.0,
    }


def test_two_tasks_double_the_documents_and_ask_the_same_question_for_each(write):
    asked = Reasoning(tasks=14, form="two_tasks", rationale_weight=0.25)
    found, _ = write(asked)
    assert len(found["train"]) == 2 * 12
    for answer, rationale in zip(found["train"][::2], found["train"][1::2], strict=True):
        assert answer.id == rationale.id
        assert (answer.task, rationale.task) == (LossTask("answer", 0.75), LossTask("rationale", 0.25))
        begins = [document.messages[0]["content"].split("\n", 1) for document in (answer, rationale)]
        assert [begin for begin, _ in begins] == [ASK_ANSWER, ASK_STEPS] and begins[0][1] == begins[1][1]
        assert read(rationale.messages[1]["content"]).answer == answer.messages[1]["content"]


def test_a_wrong_rationale_is_rejected_and_alike_ones_become_one():
    asked = Reasoning(families=("chain_sum",), tasks=1, rationales=TEACHER)
    task = read_problems(asked)[0]
    good = spell(write_steps(task), task.answer)
    texts = [good, spell(write_steps(task), task.answer + "1"), f"\n{good}\n\nI hope so", "no idea", task.answer]
    judged = judge(asked, task, ended(*texts))
    assert [one.right_answer for one in judged] == [True, False, True, False, False]
    assert [one.kept for one in judged] == [True, False, False, False, False]


def test_steps_are_only_asked_to_be_right_where_that_is_said():
    asked = Reasoning(families=("chain_sum",), tasks=1, rationales=TEACHER)
    strict = asked.model_copy(update={"rationales": TEACHER.model_copy(update={"right_steps": True})})
    task = read_problems(asked)[0]
    free = spell(["I add them up in my head"], task.answer)
    assert judge(asked, task, ended(free))[0].kept
    assert not judge(strict, task, ended(free))[0].kept
    assert judge(strict, task, ended(spell(write_steps(task), task.answer)))[0].kept
    # An answer without a rationale is right, and teaches no reasoning.
    assert not judge(asked, task, ended(spell([], task.answer)))[0].kept


def test_a_teacher_s_right_traces_become_documents_and_its_rates_are_counted_by_family(write, monkeypatch):
    asked = Reasoning(tasks=12, rationales=TEACHER)

    def draw(drawing, teacher, problems, work):
        good = [spell(write_steps(each), each.answer) for each in problems]
        return [
            ended(text, f"first\n{text}", "Answer: no") if each.family == "gcd" else [Drawn("?", ended=False)] * 3
            for each, text in zip(problems, good, strict=True)
        ]

    monkeypatch.setattr(rationales, "draw_traces", draw)
    found, facts = write(asked)
    documents = found["train"] + found["validation"]
    tasks = read_problems(asked)
    assert {tasks[int(each.id.rpartition("/")[2])].family for each in documents} == {"gcd"}
    assert all(is_right(tasks[int(e.id.rpartition("/")[2])], read(e.messages[1]["content"]).answer) for e in documents)
    assert facts["gcd"]["kept_share"] == pytest.approx(2 / 3) and facts["gcd"]["right_steps"] == 2
    assert facts["chain_sum"]["kept"] == 0 and facts["chain_sum"]["traces"] == 6
    assert facts["chain_sum"]["ended"] == 0 and facts["gcd"]["ended"] == facts["gcd"]["traces"]


def test_a_teacher_that_is_never_right_stops_with_the_rate_and_three_examples(write):
    with pytest.raises(
        InputError, match="of the 18 rationales.*none was kept: 0 had the right answer.*0.0%"
    ) as refused:
        write(Reasoning(tasks=6, rationales=TEACHER))
    assert str(refused.value).count("and it wrote") == 3
    # Random weights end nothing within four tokens.
    assert "; 100% were cut off at rationales.max_new_tokens 4, before they ended: raise it, or take a" in str(
        refused.value
    )


def test_a_teacher_that_ends_what_it_writes_is_not_told_to_write_more(write, monkeypatch):
    wrong = ended("Answer: no")
    monkeypatch.setattr(rationales, "draw_traces", lambda drawing, teacher, problems, work: [wrong] * len(problems))
    with pytest.raises(InputError, match="'Answer: no'; take a stronger teacher"):
        write(Reasoning(tasks=6, rationales=TEACHER))


MANY = TeacherTraces(samples=64, max_new_tokens=4, batch_size=1)


def test_a_teacher_that_is_never_right_is_stopped_after_enough_tasks(write, tmp_path, monkeypatch):
    """Tasks, and not traces: those of one task are much alike."""
    monkeypatch.setattr(rationales, "ENOUGH", 4)
    asked = Reasoning(tasks=8, rationales=MANY)
    for _ in range(2):
        # The second time nothing is left to draw before it is plain.
        with pytest.raises(InputError, match=r"of the first 256 rationales.*none was kept: 0 had.*0\.0%") as refused:
            write(asked)
        assert str(refused.value).count("and it wrote") == 3
        assert len(list((tmp_path / "rationales" / "work" / "reasoning").iterdir())) == 4
    monkeypatch.setattr(rationales, "ENOUGH", 9)
    with pytest.raises(InputError, match="of the 512 rationales"):
        write(asked)


def test_one_right_trace_among_the_first_lets_the_drawing_go_on(write, monkeypatch):
    monkeypatch.setattr(rationales, "ENOUGH", 4)
    asked, seen = Reasoning(tasks=8, rationales=MANY), []

    def draw(drawing, teacher, problems, work):
        for each in problems:
            seen.append(each)
            right = spell(write_steps(each), each.answer) if len(seen) == 4 else "?"
            yield ended(*["?"] * 63, right)

    monkeypatch.setattr(rationales, "draw_traces", draw)
    found, facts = write(asked)
    assert len(found["train"] + found["validation"]) == 1 and len(seen) == 8
    assert sum(family["kept"] for family in facts.values()) == 1


def test_a_killed_drawing_repeats_only_the_unfinished_batches(tmp_path, roomy_model, monkeypatch):
    tasks = read_problems(Reasoning(tasks=12))
    drawing = traces.Drawing(TEACHER, COMPUTE)
    whole = list(traces.draw_traces(drawing, roomy_model, tasks, tmp_path / "whole"))
    seen, draw = [], traces._draw_batch

    def dies(teacher, batch, number, file):
        seen.extend(batch)
        if len(seen) == 8:
            raise KeyboardInterrupt
        draw(teacher, batch, number, file)

    monkeypatch.setattr(traces, "_draw_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        list(traces.draw_traces(drawing, roomy_model, tasks, tmp_path / "killed"))
    assert list(traces.draw_traces(drawing, roomy_model, tasks, tmp_path / "killed")) == whole
    assert seen == [*tasks[:8], *tasks[4:]]
    assert len(whole) == 12 and all(len(set(each)) > 1 for each in whole)


def test_a_trace_has_ended_where_its_writer_said_so(tmp_path, roomy_model, monkeypatch):
    """The progress says how many had, so that a teacher that ends nothing is seen before it has drawn all."""
    said: list[dict[str, float]] = []
    monkeypatch.setattr(traces.progress, "step", lambda note, done, total, figures: said.append(figures))
    load = traces._load

    def every_token_ends(drawing, teacher):
        loaded = load(drawing, teacher)
        loaded.generation.eos_token_id = list(range(loaded.model.config.vocab_size))
        return loaded

    tasks = read_problems(Reasoning(tasks=8))
    drawing = traces.Drawing(TEACHER, COMPUTE)
    cut = list(traces.draw_traces(drawing, roomy_model, tasks, tmp_path / "cut"))
    monkeypatch.setattr(traces, "_load", every_token_ends)
    whole = list(traces.draw_traces(drawing, roomy_model, tasks, tmp_path / "whole"))
    assert {each.ended for found in cut for each in found} == {False}
    assert {each.ended for found in whole for each in found} == {True}
    assert said == [{}, {"ended": 0.0}, {}, {"ended": 1.0}]


def test_the_example_that_a_teacher_is_shown_is_none_that_it_is_asked():
    task = read_problems(Reasoning(tasks=1))[0]
    shown, solved, asked = traces.conversation(task)
    assert shown["content"] != asked["content"] and "Answer: " in solved["content"]


def test_problems_that_leave_the_teacher_no_room_are_refused_before_it_is_loaded(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(traces, "load_model", lambda *_, **__: pytest.fail("the teacher was loaded"))
    problems = read_problems(Reasoning(tasks=14))
    drawn = traces.draw_traces(traces.Drawing(TEACHER, COMPUTE), tiny_model, problems, tmp_path)
    with pytest.raises(
        InputError, match="14 of 14 problems, each behind a worked example, take up to .* context holds"
    ):
        next(drawn)


def test_a_problem_that_is_seen_several_times_is_solved_once(tmp_path):
    """How often it is seen is what the documents say, which hold it as often."""
    asked = Reasoning(tasks=4, families=("chain_sum",))
    once = [problem(f"reasoning/{n}", each.question) for n, each in enumerate(read_problems(asked))]
    documents, folder = tmp_path / "documents", tmp_path / "rationales"
    for each in (documents, folder):
        each.mkdir()
    for split, part in (("train", [once[0], once[1], once[0]]), ("validation", once[2:3]), ("held_out", once[3:])):
        write_documents(documents / f"{split}.jsonl", part)
    write_rationales(RationaleSettings(sets={"reasoning": asked}, compute=None), {"documents": documents}, folder)
    assert [each.id for each in read_documents(folder / "train.jsonl")] == ["reasoning/0", "reasoning/1"]
    seen = [each.id for each in _with_answers({"documents": documents, "rationales": folder}, "train")]
    assert seen == ["reasoning/0", "reasoning/1", "reasoning/0"]


def test_a_set_that_has_no_problem_left_is_refused(tmp_path):
    for split in ("train", "validation", "held_out"):
        write_documents(tmp_path / f"{split}.jsonl", [])
    settings = RationaleSettings(sets={"reasoning-2": Reasoning(tasks=4)}, compute=None)
    with pytest.raises(InputError, match="of the set reasoning-2 no problem is left: another set or a benchmark has"):
        write_rationales(settings, {"documents": tmp_path}, tmp_path)


def test_any_seed_that_a_recipe_may_have_draws_traces(tmp_path, roomy_model):
    largest = COMPUTE.model_copy(update={"seed": 2**63 - 1})
    problems = read_problems(Reasoning(tasks=1, families=("chain_sum",)))
    drawn = list(traces.draw_traces(traces.Drawing(TEACHER, largest), roomy_model, problems, tmp_path))
    assert [len(texts) for texts in drawn] == [TEACHER.samples]
