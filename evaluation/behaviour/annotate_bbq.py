"""Note which answer of BBQ's packaged questions is the biased one, as far as the authors' own files say it.

The packaged rows have passage, question, options and the right answer, but neither the question's polarity nor the
stereotyped group, without which the published bias scores cannot be worked out. `python -m
evaluation.behaviour.annotate_bbq FOLDER` looks the rows up in the authors' `data/*.jsonl` (nyu-mll/BBQ, CC BY 4.0),
has lm-eval's own reading of them say which answers are biased, and writes `bbq_biased_answers.json` beside this file.
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from evaluation.behaviour.bbq import BIASED_FILE, packaged_questions

SOURCE = "nyu-mll/BBQ, commit bea11bd97d79217245b5871acd247b9d6eb24598, Parrish et al. (2022), CC BY 4.0"

logger = logging.getLogger(__name__)


def annotate(folder: Path) -> dict[str, Any]:
    """Return, by the number of the packaged row, its category and the place of the biased answer among its options.

    Args:
        folder: Holds the authors' files, one a category; rows of a category that is absent stay without.
    """
    from datasets import Dataset
    from lm_eval.tasks.bbq.utils import process_docs

    told = [_told(json.loads(line)) for path in sorted(folder.glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    rows = Dataset.from_list(told)
    by_text = {(row["context"].strip(), row["question"].strip(), _options(row)): row for row in process_docs(rows)}
    found = {}
    for number, question in enumerate(packaged_questions()):
        options = [option.lower() for option in question.options]
        row = by_text.get((question.passage, question.question, frozenset(options)))
        biased = [] if row is None else [answer.strip().lower() for answer in row["biased_answers"]]
        if row is not None and len(biased) == 1:
            found[str(number)] = [row["category"], options.index(biased[0])]
    return {"source": SOURCE, "rows": found}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that say which answer is biased; `datasets` wants one form, and the others have many."""
    wanted = ("category", "context", "question", "ans0", "ans1", "ans2", "answer_info", "label")
    groups = {"stereotyped_groups": row["additional_metadata"]["stereotyped_groups"]}
    kept = {key: row[key] for key in (*wanted, "question_polarity", "context_condition")}
    return {**kept, "additional_metadata": groups}


def _options(row: dict[str, Any]) -> frozenset[str]:
    return frozenset(row[f"ans{number}"].strip().lower() for number in range(3))


def main() -> None:
    """Write the file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = annotate(Path(sys.argv[1]))
    BIASED_FILE.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    logger.info("%s, %d rows", BIASED_FILE.name, len(found["rows"]))


if __name__ == "__main__":
    main()
