"""Which training texts share a row, and which rows a step takes, where a curriculum says so.

Rows are in ascending order of difficulty here. Which of them a step takes is a function of the settings, the seed and
the step alone, as without a curriculum: a run that goes on needs no saved order, and every process finds the same rows.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stillhouse.data.dataset import Split
from stillhouse.data.packing import pack, pack_alike
from stillhouse.errors import InputError
from stillhouse.recipe.curriculum import Curriculum, GrowingPool, LeaveOut, Shuffled, Sorted
from stillhouse.store.artifact import Inputs
from stillhouse.teachers.difficulty import read_difficulty
from stillhouse.training.batches import rows_for_step


def arrange(curriculum: Curriculum, split: Split, inputs: Inputs, sequence_length: int) -> list[list[int]]:
    """The rows of the training text: without what is left out, and from easy to hard where there is an order.

    Args:
        curriculum: The recipe's section.
        split: The training texts.
        inputs: `difficulty_teacher` and `difficulty_start`, as far as `curriculum.readers` names them.
        sequence_length: Tokens in a row.

    Raises:
        InputError: If no text is left.
    """
    kept = np.arange(split.num_documents)
    if curriculum.leave_out is not None:
        kept = _confident(curriculum.leave_out, inputs)
    if isinstance(curriculum.order, Shuffled):
        return pack(split.starts, sequence_length, kept)
    lengths = np.diff(split.starts)
    difficulty = _difficulty(curriculum, lengths, inputs)
    rows = pack_alike(split.starts, sequence_length, kept[np.argsort(difficulty[kept], kind="stable")])

    def of_row(row: list[int]) -> float:
        return float(np.average(difficulty[row], weights=lengths[row]))

    return sorted(rows, key=of_row)


def rows_of_step(
    curriculum: Curriculum | None, num_rows: int, step: int, *, rows_per_step: int, num_steps: int, seed: int
) -> list[int]:
    """Rows of one optimizer step.

    Args:
        curriculum: The recipe's section; `None` shuffles.
        num_rows: Rows of the training text, the easiest first.
        step: Number of the step, from 0.
        rows_per_step: Rows that a step takes.
        num_steps: Steps of the whole training.
        seed: Decides what is drawn.
    """
    match curriculum.order if curriculum is not None else Shuffled():
        case Shuffled():
            return rows_for_step(num_rows, step, rows_per_step, seed)
        case Sorted(kind=kind):
            first = step * rows_per_step
            total = num_steps * rows_per_step
            return [_nth_of_pass(place, num_rows, total, seed, kind) for place in range(first, first + rows_per_step)]
        case GrowingPool() as growing:
            pool = pool_size(growing, num_rows, step, rows_per_step=rows_per_step, num_steps=num_steps)
            generator = np.random.default_rng([seed, step])
            drawn = generator.choice(pool, size=rows_per_step, replace=pool < rows_per_step)
            return [int(row) for row in drawn]


def pool_size(growing: GrowingPool, num_rows: int, step: int, *, rows_per_step: int, num_steps: int) -> int:
    """How many of the easiest rows a step draws from: the competence c(t) of Platanios et al., in rows.

    `root`: c = sqrt(s + c0^2 (1 - s)), where s goes from 0 to 1 and c0 is the share at the start; `linear`: without
    the squares.
    """
    passed = min(1.0, step / max(1.0, growing.full_at * num_steps))
    power = 2 if growing.shape == "root" else 1
    competence = (passed + growing.start_share**power * (1 - passed)) ** (1 / power)
    return min(num_rows, max(rows_per_step, math.ceil(competence * num_rows)))


def _nth_of_pass(place: int, num_rows: int, total: int, seed: int, kind: str) -> int:
    number, within = divmod(place, num_rows)
    taken = min(num_rows, total - number * num_rows)
    return int(_pass(num_rows, number, taken, seed, kind)[within])


@lru_cache(maxsize=2)
def _pass(num_rows: int, number: int, taken: int, seed: int, kind: str) -> npt.NDArray[np.int64]:
    """The rows that a pass takes in any order, sorted; a last one that is not whole takes what chance gives it."""
    # A step as large as a pass is the pass.
    rows = np.sort(rows_for_step(num_rows, number, num_rows, seed)[:taken])
    return rows if kind == "easy_first" else rows[::-1]


def _difficulty(curriculum: Curriculum, lengths: npt.NDArray[np.int64], inputs: Inputs) -> npt.NDArray[np.float64]:
    match curriculum.difficulty:
        case "length":
            return lengths.astype(np.float64)
        case "teacher_loss":
            return read_difficulty(inputs["difficulty_teacher"], "loss")
        case "start_loss":
            return read_difficulty(inputs["difficulty_start"], "loss")


def _confident(asked: LeaveOut, inputs: Inputs) -> npt.NDArray[np.int64]:
    """Numbers of the texts that the teacher is sure enough of, ascending."""
    found = read_difficulty(inputs["difficulty_teacher"], asked.measure)
    if asked.worst_share is not None:
        most = len(found) - round(asked.worst_share * len(found))
        kept = np.sort(np.argsort(found, kind="stable")[:most])
    else:
        assert asked.above is not None
        kept = np.flatnonzero(found <= asked.above)
    if not len(kept):
        wanted = f"above {asked.above:g}" if asked.above is not None else f"the worst {asked.worst_share:g}"
        raise InputError(
            f"curriculum.leave_out ({wanted}, by {asked.measure}) leaves none of {len(found)} training texts, whose "
            f"mean {asked.measure} goes from {found.min():.2f} to {found.max():.2f} nats; ask for less"
        )
    return kept
