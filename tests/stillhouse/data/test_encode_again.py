"""The same texts in the tokens of two tokenizers, and which of their positions go together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import processors

from stillhouse.data.dataset import read_spelled, read_split
from stillhouse.data.document import Document, write_documents
from stillhouse.data.encode import EncodeSettings, encode_documents
from stillhouse.data.encode_again import EncodeAgainSettings, encode_for_teacher, read_pairs
from stillhouse.data.splits import SPLITS
from stillhouse.errors import InputError
from stillhouse.models.own_tokenizer import TrainTokenizerSettings, train_tokenizer
from stillhouse.models.tokenizer import open_tokenizer
from stillhouse.recipe.student import TrainedTokenizer
from tests.conftest import SENTENCES

TEXTS = [*SENTENCES, "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich.\n\n    indented 漢字 and 🎉🎉 here."]


def documents() -> list[Document]:
    texts = [Document(f"toy/{number}", "text", f"{text} {text}") for number, text in enumerate(TEXTS)]
    turns = (
        {"role": "user", "content": "What rains?"},
        {"role": "assistant", "content": "It rains in Paris, in ways."},
    )
    return [*texts, Document("chat/0", "messages", turns)]


def tokenizer_of(teacher: Path, folder: Path, texts: list[Document], vocabulary: int = 330) -> Path:
    for name in ("documents", "tokenizer"):
        (folder / name).mkdir(parents=True)
    for name in SPLITS:
        write_documents(folder / "documents" / f"{name}.jsonl", texts)
    told = TrainTokenizerSettings(tokenizer=TrainedTokenizer(vocabulary=vocabulary))
    train_tokenizer(told, {"teacher": teacher, "documents": folder / "documents"}, folder / "tokenizer")
    return folder / "tokenizer"


@pytest.fixture
def encoded(tiny_model: Path, tmp_path: Path) -> dict[str, Path]:
    """A data set in a student's tokens, in pieces of 24, and the same in the teacher's."""
    # Other texts than those that the teacher's tokenizer knows: their words differ.
    learned = [Document("other/0", "text", "rains patience Paris Viktor Deich knows ways still " * 30)]
    inputs = {"teacher": tiny_model, "tokenizer": tokenizer_of(tiny_model, tmp_path, learned)}
    source = tmp_path / "source"
    for name in ("source", "dataset", "again"):
        (tmp_path / name).mkdir()
    for name in SPLITS:
        write_documents(source / f"{name}.jsonl", documents())
    budgets = dict.fromkeys(("train_tokens", "validation_tokens", "held_out_tokens"), 10_000)
    settings = EncodeSettings(**budgets, sequence_length=24)
    encode_documents(settings, {**inputs, "documents": source}, tmp_path / "dataset")
    inputs |= {"dataset": tmp_path / "dataset"}
    encode_for_teacher(EncodeAgainSettings(), inputs, tmp_path / "again")
    return inputs | {"again": tmp_path / "again"}


def test_pairs_are_positions_at_which_both_have_read_the_same_text(encoded):
    ours, theirs = open_tokenizer(encoded["tokenizer"]), open_tokenizer(encoded["teacher"])
    read, own = read_split(encoded["dataset"], "train"), read_split(encoded["again"], "train")
    pairs = read_pairs(encoded["again"], "train")
    pieces = np.searchsorted(read.starts, pairs[:, 0], side="right") - 1
    for piece, (one, other) in zip(pieces, pairs, strict=True):
        said = ours.decode(read.ids[read.starts[piece] : one])
        assert said == theirs.decode(own.ids[own.starts[piece] : other]) and said
        assert read.counted[one] and own.counted[other]
    # No two share a place, and most words begin in both.
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs) > 0.3 * read.num_targets
    # Some are within words of one, and those are left out.
    assert len(pairs) < min(read.num_targets, own.num_targets)


def test_both_data_sets_hold_the_same_texts_piece_for_piece(encoded):
    theirs = open_tokenizer(encoded["teacher"])
    for name in SPLITS:
        read, own = read_split(encoded["dataset"], name), read_split(encoded["again"], name)
        spelled = read_spelled(encoded["dataset"], name)
        assert own.names == read.names and len(spelled) == read.num_documents > len(documents())
        for piece, text in enumerate(spelled):
            assert theirs.decode(own.ids[own.starts[piece] : own.starts[piece + 1]]) == text.text
        # What counts differs by first tokens and by tokens across an edge alone.
        assert own.num_bytes.sum() == pytest.approx(read.num_bytes.sum(), rel=0.1)


def test_in_a_conversation_the_answer_alone_counts_in_both(encoded):
    theirs = open_tokenizer(encoded["teacher"])
    own = read_split(encoded["again"], "train")
    places = [number for number, name in enumerate(own.names) if name == "chat/0"]
    parts = [slice(int(own.starts[each]), int(own.starts[each + 1])) for each in places]
    said = "".join(theirs.decode(own.ids[part][own.counted[part]]) for part in parts)
    assert said.endswith("in ways.<|end|>") and "What" not in said


def test_a_teacher_that_puts_a_special_token_before_texts_reads_them_behind_it(encoded, tiny_model, tmp_path):
    teacher = tmp_path / "opening"
    shutil.copytree(tiny_model, teacher)
    tokenizer = open_tokenizer(tiny_model)
    start = tokenizer.convert_tokens_to_ids("<|start|>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", start)]
    )
    tokenizer.save_pretrained(teacher)
    (tmp_path / "behind").mkdir()
    encode_for_teacher(EncodeAgainSettings(), encoded | {"teacher": teacher}, tmp_path / "behind")
    plain, behind = (read_split(folder, "train") for folder in (encoded["again"], tmp_path / "behind"))
    texts = [each.is_text for each in read_spelled(encoded["dataset"], "train")]
    firsts = behind.starts[:-1]
    assert not behind.counted[firsts].any() and (behind.ids[firsts[texts]] == start).all()
    # A conversation has what its template wrote, and nothing before its pieces.
    chats = np.logical_not(texts)
    assert chats.any() and (behind.ids[firsts[chats]] == plain.ids[plain.starts[:-1][chats]]).all()
    assert (np.diff(behind.starts) - np.diff(plain.starts) == texts).all()
    # The same pairs, each so many places further on as texts before it and itself got a token.
    before, after = read_pairs(encoded["again"], "train"), read_pairs(tmp_path / "behind", "train")
    assert (behind.ids[after[:, 1]] == plain.ids[before[:, 1]]).all() and (after[:, 0] == before[:, 0]).all()
    assert behind.counted[after[:, 1]].all()
    # The first token of a piece is predicted now where the student's is, which has none before it and is not.
    assert behind.num_targets - plain.num_targets == sum(
        bool(behind.counted[first + 1]) for first, is_text in zip(firsts, texts, strict=True) if is_text
    )


def test_a_character_in_several_tokens_begins_once(encoded):
    """And is paired where the character before it ends, never in its middle."""
    spelled = read_spelled(encoded["dataset"], "train")
    text = next(each for each in spelled if "🎉" in each.text)
    assert (np.diff(text.ends) == 0).any()
    facts = json.loads((encoded["again"] / "facts.json").read_text())["train"]
    assert 0 < facts["paired_share"] < 1 and facts["pairs"] == len(read_pairs(encoded["again"], "train"))


def test_a_trained_tokenizer_is_the_same_for_the_same_texts_and_knows_the_teachers_special_tokens(tiny_model, tmp_path):
    one, other = (tokenizer_of(tiny_model, tmp_path / name, documents()) for name in ("a", "b"))
    assert (one / "tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()
    trained, teacher = open_tokenizer(one), open_tokenizer(tiny_model)
    assert trained.chat_template == teacher.chat_template and trained.eos_token == teacher.eos_token
    assert trained.pad_token == teacher.pad_token and len(trained) == 330
    for text in (*TEXTS, "never seen: ψ\u0000 \t"):
        assert trained.decode(trained(text, add_special_tokens=False)["input_ids"]) == text
    with pytest.raises(InputError, match=r"vocabulary is 258, but 256 bytes and the teacher's 3 special"):
        told = TrainTokenizerSettings(tokenizer=TrainedTokenizer.model_construct(vocabulary=258))
        train_tokenizer(told, {"teacher": tiny_model, "documents": tmp_path / "a" / "documents"}, tmp_path)
