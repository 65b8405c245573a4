"""lm-eval's tasks, run in silence, their samples handed back.

Any lm-eval model can be asked; `evaluation.lm_eval_model` opens ours, `evaluation.benchmark_tasks` builds the tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stillhouse import progress
from stillhouse.errors import InputError
from stillhouse.quiet import quiet_loggers


def run_task(scorer: Any, task: Any, note: str, *, requests: int, chat: bool = False) -> dict[str, Any]:
    """Ask a model everything that a task asks.

    Args:
        scorer: An lm-eval model.
        task: An lm-eval task; all its documents are asked.
        note: What is told of the progress.
        requests: How many questions the task puts to the model.
        chat: Whether each question is written as a user's turn, by the model's chat template.

    Returns:
        `figures` as lm-eval aggregates them, `samples` in the documents' order, the task's `version`, and `cut`: of how
        many requests the model could not read the beginning.

    Raises:
        InputError: If the task has no documents, or is for a chat and the model has no chat template.
    """
    from lm_eval.evaluator import evaluate

    name = task.config.task
    if not len(task.eval_docs):
        raise InputError(f"{name} has no documents: there is nothing to ask; give it some, or leave it out")
    cut_before = getattr(scorer, "cut", 0)
    # lm-eval wants one even where there are no examples to draw.
    task.set_fewshot_seed(seed=0)
    scorer.set_cache_hook(_Told(note, requests))
    with quiet():
        # Means have a closed form; with 0, lm-eval would leave their errors out too.
        tasks = {"tasks": {name: task}}
        found = evaluate(lm=scorer, task_dict=tasks, bootstrap_iters=2, apply_chat_template=chat)
    samples = found["samples"][name]
    assert [sample["doc_id"] for sample in samples] == list(range(len(task.eval_docs)))
    return {
        "figures": found["results"][name],
        "samples": samples,
        "version": str(found["versions"][name]),
        # Models of lm-eval itself do not count it.
        "cut": getattr(scorer, "cut", 0) - cut_before,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval and `datasets` from writing to the terminal: `progress` tells how far the work is."""
    from tqdm import tqdm

    show = tqdm.__init__

    def hide(bar: Any, *arguments: Any, **options: Any) -> None:
        show(bar, *arguments, **{**options, "disable": True})

    # lm-eval has no switch for its bars, and tqdm reads its environment variable only when it is imported.
    tqdm.__init__ = hide
    try:
        with quiet_loggers("lm_eval", "datasets"):
            yield
    finally:
        tqdm.__init__ = show


class _Told:
    """Tells how many requests are answered: lm-eval hands its models' caches every answer at once."""

    def __init__(self, note: str, total: int):
        self._note, self._total, self._done = note, total, 0

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """Take note of one answer."""
        self._done += 1
        progress.step(self._note, min(self._done, self._total), self._total)
