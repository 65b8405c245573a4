"""What an order of work is given: a store, a way to run a stage, and a record of what was made."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prefect import Task
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from flows import server
from stillhouse import progress
from stillhouse.errors import InputError, Unavailable
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import Reference
from stillhouse.store.store import References, Store
from tasks.attempts import taken

logger = logging.getLogger(__name__)

_MOST_TRIES = 50
"""How often a stage is called again for a server's sake."""

_FAILURES = (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What a model's own weights, graph or size make a stage raise."""

StageTask = Task[[Store, Any, References], Any]
Call = Callable[[StageTask, Store, Settings, References], Reference]


def directly(task: StageTask, store: Store, settings: Settings, inputs: References) -> Reference:
    """Run a stage in this process, without Prefect's engine."""
    return taken(task.fn(store, settings, inputs))


def through_prefect(task: StageTask, store: Store, settings: Settings, inputs: References) -> Reference:
    """Run a stage as a task run of the current flow run.

    Prefect asks the server for a slot before a stage that needs an accelerator, and gives it back after it. Where the
    server is away just then, the stage is run as soon as it is back, or found in the store.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return taken(_asking_for_slot(task, store, settings, inputs)(store, settings, inputs))
        except (ConcurrencySlotAcquisitionError, httpx.TransportError, httpx.HTTPStatusError) as error:
            # One that answers, and fails at this every time, is not away.
            if tries == _MOST_TRIES or not server.was_away(error):
                raise
            logger.warning("%s waits for the Prefect server: %r", task.name, error)
            if not server.wait_until_back():
                raise
            server.pause()


def _asking_for_slot(task: StageTask, store: Store, settings: Settings, inputs: References) -> StageTask:
    """The task, without its tags where the store has what it makes: it would wait for a slot only to find it."""
    if not task.tags:
        return task
    if not _is_made(task, store, settings, inputs):
        if any(server.all_taken(f"tag:{tag}") for tag in task.tags):
            with progress.of_stage(task.fn.__name__):
                progress.step("waits for an accelerator: none is free")
        return task
    found = task.with_options()
    # Not an option of the call: Prefect takes an empty set for none given.
    found.tags = set()
    return found


def _is_made(task: StageTask, store: Store, settings: Settings, inputs: References) -> bool:
    try:
        # Whole, too: what is damaged is made again, and needs the slot.
        return store.holds(directly(task, Planner(store.root), settings, inputs), inputs)
    except Unavailable:
        return False


class Planner(Store):
    """A store that names artifacts and makes none, so that a whole run can be planned."""

    def make(self, stage: Any, settings: Any, inputs: References) -> Reference:
        """Name the artifact.

        Raises:
            Unavailable: If this machine could not make it when it was last tried.
        """
        reference = self.plan(stage, settings, inputs)
        reason = self.why_unavailable(reference)
        if reason is not None and not self.has(reference):
            raise Unavailable(reason)
        return reference

    def facts(self, reference: Reference) -> dict[str, Any]:
        """What is known of an artifact that an earlier run made; nothing before it is made."""
        return super().facts(reference) if self.has(reference) else {}


class _Namer(Store):
    """A store that names artifacts, whatever this machine could make."""

    def make(self, stage: Any, settings: Any, inputs: References) -> Reference:
        """Name the artifact."""
        return self.plan(stage, settings, inputs)


@dataclass(frozen=True)
class Made:
    """The outcome of an order of work."""

    artifacts: tuple[Reference, ...]
    """Every artifact, in order."""
    results: Reference
    """The artifact with `results.json`."""
    report: Reference
    """The artifact with the report."""
    package: Reference | None
    """The package; `None` where a gate blocked it."""


@dataclass
class Work:
    """Runs stages in the order they are named."""

    store: Store
    call: Call
    artifacts: list[Reference] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Variants that could not be made, with the reason."""
    note: Callable[[Reference], None] | None = None
    """Told of each artifact before it is made: after a variant failed, or one that had failed before is made after
    all, it is none that was planned."""

    def make(self, task: StageTask, settings: Settings, inputs: References) -> Reference:
        """Give the artifact of a stage."""
        if self.note is not None:
            self.note(directly(task, _Namer(self.store.root), settings, inputs))
        reference = self.call(task, self.store, settings, inputs)
        self.artifacts.append(reference)
        return reference

    def attempt(
        self, variants: Sequence[str], task: StageTask, settings: Settings, inputs: References
    ) -> Reference | None:
        """Give an artifact that variants are made of, or note why this platform or model cannot have them."""
        try:
            return self.make(task, settings, inputs)
        except Unavailable as error:
            logger.warning("%s cannot be made: %s", " and ".join(variants), error)
            self.absent |= dict.fromkeys(variants, str(error))
            return None

    def endure(
        self, variants: Sequence[str], task: StageTask, settings: Settings, inputs: References
    ) -> Reference | None:
        """As `attempt`, but a variant that fails at its work is noted with the failure too: the others go on.

        What is wrong with the request or the machine, as a full disk, would stop the others as well, and is raised.
        """
        try:
            return self.attempt(variants, task, settings, inputs)
        except Exception as error:
            if not _is_of_the_variant(error):
                raise
            said = (str(error) or "no words").splitlines()[0]
            reason = f"{type(error).__name__} in {task.fn.__name__}: {said}"
            logger.warning("%s failed: %s", " and ".join(variants), reason)
            self.absent |= dict.fromkeys(variants, reason)
            return None

    def facts(self, reference: Reference) -> dict[str, Any]:
        """What the stage said of its result; nothing while a run is only planned."""
        return self.store.facts(reference)


def _is_of_the_variant(error: Exception) -> bool:
    """Whether another variant may well do what this one failed at."""
    if isinstance(error, InputError):
        return False
    # Errors of ONNX Runtime have no class of Python's above them; those of Prefect and of the system are not these.
    return isinstance(error, _FAILURES) or type(error).__module__.startswith("onnxruntime")
