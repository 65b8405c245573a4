"""What only the data and the machine show of verifiers: refused before anything is generated."""

from collections.abc import Sequence

from stillhouse.data.jsonl import read_jsonl
from stillhouse.data.verifiers import scored_sets
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, HubSet, JsonLines
from stillhouse.recipe.source import Source
from stillhouse.sandbox.run import check_sandbox


def check_verifiers(data: Data, sources: Sequence[Source]) -> None:
    """Refuse tests that this machine cannot run, and verified responses where no prompt has a verifier.

    Where prompts have one answer each, nothing is judged and nothing refused.

    Args:
        data: The recipe's section.
        sources: What `check_data` found.

    Raises:
        InputError: If there are tests and no sandbox, or `keep.verified` and no verifier. What a set of a hub holds is
            only read when it is gathered.
    """
    sampled = data.answers.sampled
    if sampled is None:
        return
    names_tests = any(isinstance(each, HubSet) and each.tests_column is not None for each in data.sets)
    prompts, with_tests = _count(data, sources)
    if with_tests or names_tests:
        check_sandbox("take the tests out of the prompts, or data.answers.sampled out of the recipe")
    elif sampled.keep.verified and not scored_sets(data):
        raise InputError(
            f"data.answers.sampled.keep.verified is true, but of {prompts} prompts none has a verifier; give prompts "
            '"tests" (Python that is run after the program in a response), add the packaged set reasoning-gym, or '
            "leave keep.verified out"
        )


def _count(data: Data, sources: Sequence[Source]) -> tuple[int, int]:
    """The prompts of files that are trained on, and those with tests."""
    remaining = iter(sources)
    prompts = with_tests = 0
    for data_set in data.sets:
        source = next(remaining)
        if isinstance(data_set, JsonLines):
            if data_set.held_out is not None:
                next(remaining)
            for document in read_jsonl(source.path, source.name, data_set.limit):
                prompts += document.kind == "prompt"
                with_tests += document.tests is not None
    return prompts, with_tests
