import json
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from stillhouse.data.document import Document, read_documents, write_documents
from stillhouse.data.select import SelectSettings, select_documents
from stillhouse.data.similar import near_copies
from stillhouse.data.sources import check_data
from stillhouse.data.word_runs import word_runs
from stillhouse.errors import InputError
from stillhouse.recipe.data import Data, PackagedSet
from stillhouse.recipe.selection import Selection, SimilarTo

STORY = "the copper still on the hill runs all night and the malt that feeds it is dry by the morning light"
COPY = STORY.replace("hill", "hills")


def select(folder, train, selection, *, validation=(), held_out=(), seed=0):
    source, made = folder / "documents", folder / f"selected-{seed}"
    for place in (source, made):
        place.mkdir(exist_ok=True)
    for name, documents in (("train", train), ("validation", validation), ("held_out", held_out)):
        write_documents(source / f"{name}.jsonl", documents)
    select_documents(SelectSettings(selection=selection, seed=seed), {"documents": source}, made)
    left = {name: list(read_documents(made / f"{name}.jsonl")) for name in ("train", "validation", "held_out")}
    return left, json.loads((made / "facts.json").read_text())


def texts(name, contents):
    return [Document(f"{name}/{number}", "text", content) for number, content in enumerate(contents)]


def test_of_near_duplicates_the_first_stays_and_what_was_left_out_is_told(tmp_path):
    left, facts = select(tmp_path, texts("a", [STORY, COPY, "something else"]), Selection(near_duplicates=0.5))
    assert {document.id for document in left["train"]} == {"a/0", "a/2"}
    (row,) = facts["left_out"]
    assert (row["set"], row["reason"], row["documents"]) == ("a", "near duplicate", 1)
    assert row["examples"] == [f"a/1: {COPY[:80]}"]


def test_a_near_duplicate_of_a_held_out_text_leaves_the_training_and_not_the_held_out(tmp_path):
    held_out, validation = texts("h", [COPY, STORY]), texts("v", [STORY])
    left, facts = select(
        tmp_path, texts("a", [STORY, "other"]), Selection(near_duplicates=0.5), held_out=held_out, validation=validation
    )
    assert (left["held_out"], left["validation"]) == (held_out, validation)
    assert [document.id for document in left["train"]] == ["a/1"]
    assert facts["left_out"][0]["reason"] == "near duplicate of another split"


def test_problems_of_one_family_are_no_copies_of_each_other(tmp_path):
    """They share the words of their instruction; that the family is `word_sorting` takes all but two of forty."""
    asked = [
        Document(f"p/{number}", "problem", ({"role": "user", "content": each},))
        for number, each in enumerate((STORY, COPY))
    ]
    left, facts = select(tmp_path, [*asked, *texts("a", [STORY])], Selection(near_duplicates=0.5), held_out=asked[:1])
    assert {document.id for document in left["train"]} == {"p/0", "p/1", "a/0"} and facts["left_out"] == []


def test_the_similarity_is_that_of_shingles_exactly():
    one, other = "a b c d e f g h i", "a b c d e f g h x"  # 4 of 6 runs of five words are in both
    assert near_copies([one, other], 4 / 6, 0) == {1: 0}
    assert near_copies([one, other], 4 / 6 + 0.01, 0) == {}


def test_near_copies_are_those_that_comparing_all_pairs_finds():
    generator = np.random.default_rng(0)
    some = [generator.integers(0, 50, size=30) for _ in range(8)]
    for number in range(40):
        changed = some[number % 8].copy()
        changed[generator.integers(0, 30, size=1 + number // 8)] = 99
        some.append(changed)
    some = [" ".join(map(str, each)) for each in some]
    sets = [word_runs(text, 5) for text in some]
    for similarity in (0.3, 0.5, 0.6):
        expected: dict[int, int] = {}
        for i, own in enumerate(sets):
            for j in range(i):
                if j not in expected and len(own & sets[j]) / len(own | sets[j]) >= similarity:
                    expected[i] = j
                    break
        assert expected and near_copies(some, similarity, 0) == expected


THRICE = Selection(weights={"a": 3.0})


@pytest.mark.parametrize(("weight", "count"), [(2.0, 20), (0.5, 5), (1.5, 15), (0.01, 1)])
def test_a_weight_changes_how_often_a_set_is_seen(tmp_path, weight, count):
    train = texts("a", [f"a {n}" for n in range(10)]) + texts("b", [f"b {n}" for n in range(10)])
    left, facts = select(tmp_path, train, Selection(weights={"a": weight}))
    seen = Counter(document.id for document in left["train"] if document.set_name == "a")
    assert sum(seen.values()) == count
    assert max(seen.values()) - min(seen.get(f"a/{n}", 0) for n in range(10)) <= 1
    assert facts["sets"]["b"] == {"before": 10, "after": 10}
    again, _ = select(tmp_path, train, Selection(weights={"a": weight}))
    other, _ = select(tmp_path, train, Selection(weights={"a": weight}), seed=1)
    assert again == left != other


def test_weighted_sets_stay_mixed_evenly(tmp_path):
    each = texts("a", [f"a {n}" for n in range(100)]), texts("b", [f"b {n}" for n in range(100)])
    left, _ = select(tmp_path, [document for pair in zip(*each, strict=True) for document in pair], THRICE)
    sets = [document.set_name for document in left["train"]]
    for start in range(0, 400, 100):
        assert 60 <= sets[start : start + 100].count("a") <= 90


def test_what_is_left_keeps_its_order(tmp_path):
    """Or a training on a part of the text would read other documents, whatever was selected."""
    each = texts("a", [f"a {n}" for n in range(20)]), texts("b", [f"b {n}" for n in range(20)])
    train = [document for pair in zip(*each, strict=True) for document in pair]
    doubled = [*train[:20], *texts("c", ["a 3 "]), *train[20:]]
    without, _ = select(tmp_path, doubled, Selection(near_duplicates=0.9))
    assert without["train"] == [document for document in doubled if document.set_name != "c"]
    more, _ = select(tmp_path, train, THRICE)
    firsts = list(dict.fromkeys(document.id for document in more["train"]))
    assert [name for name in firsts if name.startswith("b")] == [document.id for document in each[1]]
    fewer, _ = select(tmp_path, train, Selection(weights={"a": 0.5}))
    assert [document for document in train if document in fewer["train"]] == fewer["train"]


def test_similar_to_keeps_what_is_like_the_target_and_all_of_the_target(tmp_path):
    medicine = ["the patient was given a dose of the drug", "a trial of the drug in patients with a disease"]
    like = [f"patients with disease {n} were given the drug in a trial" for n in range(5)]
    unlike = [f"the film number {n} won a prize at the festival of its town" for n in range(15)]
    train = texts("medicine", medicine) + texts("other", unlike[:8] + like + unlike[8:])
    asked = Selection(similar_to=SimilarTo(set="medicine", share=0.25))
    left, facts = select(tmp_path, train, asked)
    assert {document.id for document in left["train"] if document.set_name == "other"} == {
        f"other/{n}" for n in range(8, 13)
    }
    assert facts["sets"]["medicine"] == {"before": 2, "after": 2}
    assert facts["left_out"][0]["documents"] == 15


def test_a_filter_that_leaves_nothing_is_refused_with_the_counts(tmp_path):
    with pytest.raises(InputError, match=r'"set": "a", "reason": "near duplicate of another split", "documents": 1'):
        select(tmp_path, texts("a", [STORY]), Selection(near_duplicates=0.5), held_out=texts("h", [STORY]))


@pytest.mark.parametrize(
    "asked", [Selection(weights={"wiki": 2.0}), Selection(similar_to=SimilarTo(set="wiki", share=0.5))]
)
def test_an_unknown_set_is_refused_by_name_before_anything_is_read(tmp_path, asked):
    data = Data(sets=(PackagedSet(name="boolq-passages"),), selection=asked)
    with pytest.raises(InputError, match=r"'wiki'.*sets of this recipe are boolq-passages"):
        check_data(data, tmp_path)


@pytest.mark.parametrize("wrong", [{"near_duplicates": 0}, {"weights": {"a": 0}}, {"similar_to": {"set": "a"}}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        Selection(**wrong)
