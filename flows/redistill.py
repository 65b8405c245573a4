"""The same compression again, on a schedule or because somebody asks: done only where something has changed."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.utilities.timeout import timeout
from pydantic import Field

from flows.asked import Preset, name_of_run, recipe_path
from flows.attended import Outcome, attended, checked, outcome_of
from flows.compress import check_recipe
from flows.run_folder import Asked, carry_out, is_delivered
from flows.work import through_prefect
from stillhouse.errors import InputError
from stillhouse.recipe.changes import NO_CHANGES, Changes


class _OutOfTime(TimeoutError):
    """The run took as long as it may; a stage may meet timeouts of its own."""


@flow(name="redistill", flow_run_name=name_of_run, persist_result=False)
def redistill(
    preset: Preset = "demo",
    recipe: str = "",
    changes: Changes = NO_CHANGES,
    at_most_hours: Annotated[float, Field(gt=0)] = 12.0,
    at_most_tokens: Annotated[int, Field(gt=0)] = 10_000_000,
    runs: str = "runs",
) -> dict[str, Any]:
    """Distil again if what decides the package has changed; skip, with the reason, where the store has it already.

    Args:
        preset: A recipe that ships with Stillhouse.
        recipe: Path of a recipe of your own, on the worker's machine, instead of a preset.
        changes: What this run does otherwise than its recipe says. What is left empty stays as the recipe has it.
        at_most_hours: The run is stopped after so long; the next one goes on from its last checkpoint.
        at_most_tokens: A recipe that trains on more tokens is refused before it starts.
        runs: Folder on the worker's machine that holds all that runs make, the store included.
    """
    limits = (at_most_hours, at_most_tokens)
    return attended(lambda: _in_flow(recipe_path(preset, recipe), changes, *limits, Path(runs)))


def _in_flow(recipe: Path, changes: Changes, at_most_hours: float, at_most_tokens: int, runs: Path) -> Outcome:
    asked = checked(partial(check_affordable, recipe, changes, at_most_tokens, runs))
    reason = why_skip(asked)
    if reason is not None:
        return Outcome("Skipped", reason, {"verdict": "skipped", "reason": reason})
    try:
        with timeout(seconds=at_most_hours * 3600, timeout_exc_type=_OutOfTime):
            return outcome_of(carry_out(asked, through_prefect))
    except _OutOfTime:
        raise InputError(
            f"stopped after {at_most_hours:g} hours, as at_most_hours says; what is finished is kept, and the next "
            "run goes on from the last checkpoint. Raise at_most_hours, or train on fewer tokens"
        ) from None


def check_affordable(recipe: Path, changes: Changes, at_most_tokens: int, runs: Path) -> Asked:
    """Do preflight, and refuse a recipe that trains longer than is allowed.

    Raises:
        InputError: If the recipe is wrong, or trains on too many tokens.
    """
    asked = check_recipe(recipe, changes, runs)
    tokens = asked.training_tokens
    if tokens > at_most_tokens:
        raise InputError(
            f"{recipe} trains on up to {tokens:,} tokens, and at_most_tokens allows {at_most_tokens:,}; "
            "raise it, or lower data.train_tokens"
        )
    return asked


def why_skip(asked: Asked) -> str | None:
    """Why there is nothing to do, as a plan of the run shows; `None` where there is something."""
    planned = asked.planned()
    if planned.package is None:
        return f"nothing has changed since gates blocked this student ({planned.results}); no package can come of it"
    if is_delivered(asked.store, planned.package):
        return f"nothing has changed: the store has this very package, {planned.package}"
    return None
