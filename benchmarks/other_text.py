"""Students on held-out text of other sets than those that they were trained on, each beside another student."""

from dataclasses import dataclass
from typing import Any

from benchmarks.figures import FIGURES, documents_of
from benchmarks.techniques.paired import Documents, differences
from flows.delivery import prepare_data
from flows.settings import SettingsOfStages
from flows.work import Work
from stillhouse.store.artifact import Reference
from tasks.score_held_out import measure_held_out

_TOTALS = ("document", "tokens", "loss_nats", "teacher_loss_nats", "kl_to_teacher_nats", "top1_agreements")


def held_out_of(*sets: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The `data` of a recipe whose held-out text alone is read; whatever else a recipe trains on, no training has it.

    Which documents are held out is decided by their text and the recipe's seed.
    """
    small = {"train_tokens": 1000, "validation_tokens": 1000}
    return {"sets": list(sets), **small, "held_out_tokens": tokens, "selection": None}


@dataclass(frozen=True)
class OtherText:
    """What a model says of it."""

    figures: dict[str, Any]
    documents: Documents
    """What each adds to the figures."""

    def told(self, beside: "OtherText | None") -> dict[str, Any]:
        """For a file: figures, totals of documents, and the differences to another student where there is one."""
        found = {
            "figures": self.figures,
            "documents": [{name: each[name] for name in _TOTALS} for each in self.documents],
        }
        return found if beside is None else found | {"less": differences(self.documents, beside.documents)}


def read_other_text(settings: SettingsOfStages, work: Work, model: Reference, teacher: Reference) -> OtherText:
    """Let a model read it.

    Args:
        settings: Of a recipe with `held_out_of`; its precision is also that of the teacher's answers.
        work: Runs the stages.
        model: The student.
        teacher: Whom its figures are held against.
    """
    read = {"teacher": teacher, "dataset": prepare_data(settings, work, teacher)["dataset"]}
    documents = documents_of(settings, work, model, read)
    facts = work.facts(work.make(measure_held_out, settings.held_out, {"model": model, **read}))
    return OtherText({name: facts[name] for name in (*FIGURES, "tokens", "documents")}, documents)
