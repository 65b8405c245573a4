import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModelForCausalLM

from stillhouse.errors import InputError
from stillhouse.serving.decoder import Decoder

PROMPT = "The capital of"


@pytest.fixture(scope="module")
def decoder(tiny_onnx: Path) -> Decoder:
    return Decoder.open(tiny_onnx, threads=1)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_serving_needs_neither_torch_nor_transformers_nor_pydantic():
    code = (
        "import sys, stillhouse.serving.decoder;"
        "print([name for name in ('torch', 'transformers', 'pydantic', 'prefect') if name in sys.modules])"
    )
    assert _run(code) == "[]"


def test_a_text_is_encoded_as_texts_are_in_training(decoder: Decoder, tiny_onnx: Path, tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(tiny_onnx / "tokenizer.json"))
    plain = tokenizer.encode("rain", add_special_tokens=False).ids
    assert decoder.encode("rain") == decoder.encode("rain", of_template=True) == plain
    start = tokenizer.token_to_id("<|start|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", start), ("<|end|>", start + 1)]
    )
    shutil.copytree(tiny_onnx, tmp_path / "opening")
    tokenizer.save(str(tmp_path / "opening" / "tokenizer.json"))
    opening = Decoder.open(tmp_path / "opening", threads=1)
    # Behind what the tokenizer puts before a text, without what it puts behind one, and never twice.
    assert opening.encode("rain") == opening.encode("<|start|>rain") == [start, *plain]
    assert opening.encode("rain", of_template=True) == plain


def test_logits_are_those_of_transformers(decoder: Decoder, tiny_model: Path):
    ids = decoder.encode("A small model learns what a large one knows.")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    found = decoder.logits(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_greedy_tokens_with_a_cache_are_those_of_transformers(decoder: Decoder, tiny_model: Path):
    ids = decoder.encode(PROMPT)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    expected = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert decoder.generate(ids, max_new_tokens=20) == expected[0, len(ids) :].tolist()


def test_margins_are_the_gaps_between_the_two_highest_logits(decoder: Decoder):
    ids = decoder.encode(PROMPT)
    generation = decoder.generate_with_margins(ids, max_new_tokens=6)
    rows = np.sort(decoder.logits([*ids, *generation.ids])[len(ids) - 1 : -1], axis=1)
    np.testing.assert_allclose(generation.margins, rows[:, -1] - rows[:, -2], atol=1e-4)
    assert len(generation.margins) == len(generation.ids) == 6


def test_a_chooser_says_which_token_follows_and_margins_stay_those_of_the_likeliest(decoder: Decoder):
    ids = decoder.encode(PROMPT)
    unlikeliest = decoder.generate_with_margins(ids, max_new_tokens=6, choose=lambda logits_V: int(logits_V.argmin()))
    rows = decoder.logits([*ids, *unlikeliest.ids])[len(ids) - 1 : -1]
    assert unlikeliest.ids == rows.argmin(axis=1).tolist()
    ordered = np.sort(rows, axis=1)
    np.testing.assert_allclose(unlikeliest.margins, ordered[:, -1] - ordered[:, -2], atol=1e-4)


TEXTS = ("The capital of", "A small model learns what a large one knows.", "x", "Water, malt and yeast")


def test_sequences_in_one_pass_have_the_logits_that_each_has_alone(decoder: Decoder):
    batch = [decoder.encode(text) for text in TEXTS]
    for ids, found, ending in zip(batch, decoder.logits_of(batch), decoder.logits_of(batch, last=3), strict=True):
        alone = decoder.logits(ids)
        assert found.shape == alone.shape
        np.testing.assert_allclose(found, alone, atol=1e-4)
        np.testing.assert_array_equal(ending, found[-3:])


def test_prompts_side_by_side_are_continued_as_each_is_alone(decoder: Decoder):
    prompts = [decoder.encode(text) for text in TEXTS]
    alone = [decoder.generate_with_margins(ids, max_new_tokens=8) for ids in prompts]
    # A token that only one of them meets, in the middle: the others go on.
    stop = alone[0].ids[3]
    expected = [decoder.generate(ids, max_new_tokens=8, stop_ids={stop}) for ids in prompts]
    found = decoder.generate_batch(prompts, max_new_tokens=8, stop_ids={stop})
    assert [generation.ids for generation in found] == expected
    assert len({len(ids) for ids in expected}) > 1
    np.testing.assert_allclose(found[0].margins, alone[0].margins[: len(expected[0])], atol=1e-4)


def test_each_prompt_has_its_own_chooser_and_may_be_ended_from_outside(decoder: Decoder):
    prompts = [decoder.encode(text) for text in TEXTS[:2]]
    told: list[tuple[int, int]] = []

    def goes_on(row: int, token: int) -> bool:
        told.append((row, token))
        return row == 0 or len([one for one in told if one[0] == 1]) < 2

    first, second = decoder.generate_batch(
        prompts,
        max_new_tokens=4,
        choose=[lambda logits_V: int(logits_V.argmax()), lambda logits_V: int(logits_V.argmin())],
        on_step=goes_on,
    )
    assert first.ids == decoder.generate(prompts[0], max_new_tokens=4)
    expected = decoder.generate_with_margins(prompts[1], max_new_tokens=2, choose=lambda logits_V: logits_V.argmin())
    assert second.ids == expected.ids
    assert [token for row, token in told if row == 0] == first.ids


def test_generation_ends_with_a_stop_token_and_tells_each_token_at_once(decoder: Decoder):
    ids = decoder.encode(PROMPT)
    free = decoder.generate(ids, max_new_tokens=8)
    told: list[int] = []
    stopped = decoder.generate(ids, max_new_tokens=8, stop_ids={free[3]}, on_token=told.append)
    assert stopped == told == free[: free.index(free[3]) + 1]


def test_text_survives_encoding_and_special_tokens_are_not_decoded(decoder: Decoder):
    text = "Straße, 東京, 🥃 and 42 pots"
    assert decoder.decode(decoder.encode(text)) == text
    assert decoder.decode(decoder.encode("<|start|>malt<|end|>")) == "malt"
    assert len(decoder.encode("<|end|>")) == 1


def test_stop_tokens_come_from_the_generation_config(decoder: Decoder, tiny_onnx: Path):
    expected = json.loads((tiny_onnx / "generation_config.json").read_text())["eos_token_id"]
    assert decoder.stop_ids == (expected,)


def test_a_model_without_position_ids_is_run_without_them(tmp_path: Path, tiny_onnx: Path):
    import onnx
    from onnx import TensorProto, helper

    def tensor(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    # One-hot of the token itself, with a cache that only grows: next token = this token.
    nodes = [
        helper.make_node("OneHot", ["input_ids", "depth", "values"], ["logits"]),
        helper.make_node("Cast", ["input_ids"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["as_float", "axes"], ["new"]),
        helper.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [
            tensor("input_ids", TensorProto.INT64, ["b", "t"]),
            tensor("attention_mask", TensorProto.INT64, ["b", "p"]),
            tensor("past_key_values.0.key", TensorProto.FLOAT, ["b", 1, "past", 1]),
        ],
        [
            tensor("logits", TensorProto.FLOAT, ["b", "t", 300]),
            tensor("present.0.key", TensorProto.FLOAT, ["b", 1, "all", 1]),
        ],
        [
            helper.make_tensor("depth", TensorProto.INT64, [], [300]),
            helper.make_tensor("values", TensorProto.FLOAT, [2], [0.0, 1.0]),
            helper.make_tensor("axes", TensorProto.INT64, [2], [1, 3]),
        ],
    )
    shutil.copytree(tiny_onnx, tmp_path / "echo")
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "echo" / "model.onnx")
    echo = Decoder.open(tmp_path / "echo", threads=1)
    assert echo.generate([5, 9], max_new_tokens=3) == [9, 9, 9]
    # It could not tell what was filled up from what was said: several lengths go one by one.
    told: list[tuple[int, int]] = []
    found = echo.generate_batch(
        [[5, 9], [7]], max_new_tokens=2, on_step=lambda row, token: not told.append((row, token))
    )
    assert [generation.ids for generation in found] == [[9, 9], [7, 7]]
    assert told == [(0, 9), (0, 9), (1, 7), (1, 7)]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_folder_that_lacks_a_file_is_refused_by_its_name(name: str, tmp_path: Path, tiny_onnx: Path):
    shutil.copytree(tiny_onnx, tmp_path / "variant")
    (tmp_path / "variant" / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        Decoder.open(tmp_path / "variant", threads=1)


def test_an_empty_prompt_is_refused(decoder: Decoder):
    with pytest.raises(InputError, match="the prompt is empty"):
        decoder.generate([], max_new_tokens=1)
    with pytest.raises(InputError, match="the prompt is empty"):
        decoder.logits([])


def test_a_prompt_that_leaves_no_room_in_the_context_is_refused(decoder: Decoder):
    assert decoder.logits([5] * 128).shape[0] == 128
    with pytest.raises(InputError, match=r"longer than the context: 129 \+ 0 tokens, 128 allowed"):
        decoder.logits([5] * 129)
    with pytest.raises(InputError, match=r"120 \+ 9 tokens, 128 allowed"):
        decoder.generate([5] * 120, max_new_tokens=9)


def test_a_token_outside_the_vocabulary_is_refused(decoder: Decoder):
    with pytest.raises(InputError, match="unknown token: ids from 5 to 300 were given, 0 to 299"):
        decoder.logits([5, 300])


def test_a_provider_that_does_not_start_is_an_error_and_not_a_slow_model(tiny_onnx: Path):
    with pytest.raises(InputError, match="unknown execution provider: NoSuchProvider"):
        Decoder.open(tiny_onnx, threads=1, providers=("NoSuchProvider",))
    cuda = "CUDAExecutionProvider"
    if cuda in onnxruntime.get_available_providers() and not torch.cuda.is_available():
        with pytest.raises(InputError, match="did not start"):
            Decoder.open(tiny_onnx, threads=1, providers=(cuda, "CPUExecutionProvider"))
