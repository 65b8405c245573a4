"""What only the data and the machine show of verifiers: refused before anything is generated."""

from collections.abc import Sequence

from stillhouse.data.jsonl import read_jsonl
from stillhouse.data.verifiers import scored_sets
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, HubSet, JsonLines, without_prompts
from stillhouse.recipe.source import Source
from stillhouse.sandbox.run import check_sandbox


def check_verifiers(data: Data, sources: Sequence[Source]) -> None:
    """Refuse responses where nothing is a prompt, tests that cannot be run, and a verification without a verifier.

    Where prompts have one answer each, nothing is judged and nothing refused.

    Args:
        data: The recipe's section.
        sources: What `check_data` found.

    Raises:
        InputError: If no file has a prompt and no set may; if there are tests and no sandbox, or `keep.verified` and
            no verifier. What a set of a hub holds is only read when it is gathered.
    """
    sampled = data.answers.sampled
    if sampled is None:
        return
    may_have_prompts = any(not without_prompts(each) for each in data.sets if not isinstance(each, JsonLines))
    names_tests = any(isinstance(each, HubSet) and each.tests_column is not None for each in data.sets)
    prompts, with_tests = _count(data, sources)
    if not prompts and not may_have_prompts:
        raise InputError(
            "data.answers.sampled says how prompts are answered, and no file has one: a prompt is a line whose "
            "messages end with the user's; give some, or leave sampled out"
        )
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
