"""Stages whose refusal is an answer: this platform or model cannot have the variant, and its run goes on without it."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed

from stillhouse.errors import Unavailable
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store


def made_or_refused(store: Store, stage: Any, settings: Any, inputs: References) -> Any:
    """Make an artifact, or end the task run as `Not made` with the reason: red is for runs that need somebody.

    Returns:
        A reference; or a completed state that holds the `Unavailable`.
    """
    try:
        return store.make(stage, settings, inputs)
    except Unavailable as refusal:
        return Completed(name="Not made", message=str(refusal), data=refusal)


def taken(made: Any) -> Reference:
    """What a task gave, or its refusal raised.

    Raises:
        Unavailable: If the stage cannot be made here.
    """
    given: Any = made
    if isinstance(made, State):
        # Prefect's engine puts what a state holds that a task gave into a record of its own, which is not public.
        given = getattr(made.data, "result", made.data)
    if isinstance(given, Unavailable):
        raise given
    reference: Reference = given
    return reference
