import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from onnx import numpy_helper
from tokenizers import processors

from evaluation.batch_dependence import LIMIT_NATS
from evaluation.decoding import Decoding, draw_token, generator_of
from evaluation.lm_eval_model import scorer_of
from evaluation.torch_decoder import TorchDecoder
from export.onnx.files import save_model
from export.quantization.dynamic import quantize_dynamically
from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute
from stillhouse.serving.decoder import Decoder

COMPUTE = Compute(device="cpu", precision="fp32", threads=1, seed=0)
PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " Berlin, I think"),
    ("Is water wet?", " y"),
    ("Is water wet?", " n"),
    ("", "A small model learns."),
    ("ends in a space ", "and goes on"),
    ("far too long for this model " * 20, " indeed"),
]


def ask(kind: str, *arguments: tuple) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=0, metadata=("a task", number, 1))
        for number, each in enumerate(arguments)
    ]


@pytest.fixture(scope="module")
def torch_scorer(tiny_model):
    return scorer_of(tiny_model, compute=COMPUTE, batch_size=3)


@pytest.fixture(scope="module")
def onnx_scorer(tiny_onnx):
    return scorer_of(tiny_onnx, compute=COMPUTE, batch_size=3)


@pytest.fixture(scope="module")
def reference(tiny_model):
    """lm-eval's own model, untouched."""
    return HFLM(
        pretrained=load_model(tiny_model, device="cpu", dtype="fp32"),
        tokenizer=load_tokenizer(tiny_model),
        backend="causal",
        batch_size=1,
    )


def test_a_folder_with_a_graph_is_read_by_onnx_runtime_and_any_other_by_transformers(torch_scorer, onnx_scorer):
    assert (type(torch_scorer.model), type(onnx_scorer.model)) == (TorchDecoder, Decoder)


def test_a_text_is_read_behind_what_its_tokenizer_puts_before_texts_and_without_what_it_puts_behind(
    torch_scorer, tiny_model, tmp_path
):
    tokenizer = load_tokenizer(tiny_model)
    plain = torch_scorer.tok_encode("Water")
    assert plain == tokenizer.encode("Water", add_special_tokens=False)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", start), ("<|end|>", end)]
    )
    shutil.copytree(tiny_model, tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    scorer = scorer_of(tmp_path / "model", compute=COMPUTE, batch_size=3)
    assert scorer.tok_encode("Water") == scorer.tok_encode("<|start|>Water") == [start, *plain]
    assert scorer.tok_encode("Water", add_special_tokens=False) == plain


@pytest.mark.parametrize("name", ["torch_scorer", "onnx_scorer"])
def test_answers_score_as_lm_evals_own_model_scores_them(name, reference, request):
    requests = ask("loglikelihood", *PAIRS)
    expected = reference.loglikelihood(requests, disable_tqdm=True)
    found = request.getfixturevalue(name).loglikelihood(requests, disable_tqdm=True)
    for (log_prob, greedy), (expected_log_prob, expected_greedy) in zip(found, expected, strict=True):
        assert log_prob == pytest.approx(expected_log_prob, abs=1e-4)
        assert greedy == expected_greedy


@pytest.mark.parametrize("name", ["torch_scorer", "onnx_scorer"])
def test_greedy_answers_are_those_of_lm_evals_own_model(name, reference, request):
    asked = {"until": [], "max_gen_toks": 12, "do_sample": False}
    requests = ask("generate_until", *((context, asked) for context, _ in PAIRS if context))
    expected = reference.generate_until(requests, disable_tqdm=True)
    scorer = request.getfixturevalue(name)
    assert scorer.generate_until(requests, disable_tqdm=True) == expected
    written = scorer.written["Is water wet?", Decoding(new_tokens=12)]
    assert len(written.ids) == 12 or written.ended


def test_onnx_and_torch_agree_request_by_request(torch_scorer, onnx_scorer):
    requests = ask("loglikelihood", *PAIRS)
    both = zip(*(scorer.loglikelihood(requests) for scorer in (torch_scorer, onnx_scorer)), strict=True)
    for (log_prob, greedy), (other_log_prob, other_greedy) in both:
        assert log_prob == pytest.approx(other_log_prob, abs=1e-4)
        assert greedy == other_greedy


@pytest.mark.parametrize("name", ["tiny_model", "tiny_onnx"])
def test_batching_moves_a_score_by_less_than_a_thousandth_of_a_nat(name, request):
    folder = request.getfixturevalue(name)
    requests = ask("loglikelihood", *PAIRS)
    alone, together = (scorer_of(folder, compute=COMPUTE, batch_size=size) for size in (1, 16))
    assert together.batch_dependence_nats < LIMIT_NATS and together.batch_size == 16
    scores = zip(alone.loglikelihood(requests), together.loglikelihood(requests), strict=True)
    assert max(abs(one[0] - other[0]) for one, other in scores) < LIMIT_NATS


def test_rounding_of_bf16_is_told_and_asks_in_batches_all_the_same(tiny_model):
    rounded = scorer_of(tiny_model, compute=COMPUTE.model_copy(update={"precision": "bf16"}), batch_size=16)
    assert rounded.batch_dependence_nats > LIMIT_NATS
    assert rounded.batch_size == 16


@pytest.fixture(scope="module")
def dynamic_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph with activations in 8 bits, one scale for a whole batch."""
    folder, work = tmp_path_factory.mktemp("dynamic"), tmp_path_factory.mktemp("work")
    quantize_dynamically({"onnx": str(tiny_onnx), "folder": str(folder), "work": str(work)})
    for path in tiny_onnx.iterdir():
        if not path.name.startswith("model.onnx"):
            shutil.copy(path, folder)
    return folder


def test_a_graph_whose_answers_depend_on_the_batch_is_found_and_asked_one_by_one(dynamic_onnx, monkeypatch):
    scorer = scorer_of(dynamic_onnx, compute=COMPUTE, batch_size=16)
    assert scorer.batch_dependence_nats > 10 * LIMIT_NATS
    sizes = []
    logits_of = scorer.model.logits_of
    monkeypatch.setattr(
        scorer.model, "logits_of", lambda batch, last=None: sizes.append(len(batch)) or logits_of(batch, last=last)
    )
    scorer.loglikelihood(ask("loglikelihood", *PAIRS))
    # Yes and no read the same tokens, and share a pass.
    assert set(sizes) == {1} and len(sizes) == len({context for context, _ in PAIRS}) + 1


def test_answers_that_the_same_tokens_lead_up_to_share_one_row(tiny_onnx, monkeypatch):
    scorer = scorer_of(tiny_onnx, compute=COMPUTE, batch_size=8)
    assert scorer.batch_size == 8
    passes = []
    logits_of = scorer.model.logits_of
    monkeypatch.setattr(
        scorer.model, "logits_of", lambda batch, last=None: passes.append(list(batch)) or logits_of(batch, last=last)
    )
    scorer.loglikelihood(ask("loglikelihood", ("Is water wet?", " y"), ("Is water wet?", " n"), ("Water", " w")))
    assert [len(batch) for batch in passes] == [2]


def test_a_request_is_answered_once(tiny_onnx):
    scorer = scorer_of(tiny_onnx, compute=COMPUTE, batch_size=8)
    requests = ask("loglikelihood", *PAIRS)
    first = scorer.loglikelihood(requests)
    asked = scorer.asked
    assert scorer.loglikelihood(requests[::-1]) == first[::-1]
    assert scorer.asked == asked


@pytest.mark.parametrize("name", ["torch_scorer", "onnx_scorer"])
def test_a_seed_decides_what_is_drawn_and_another_seed_draws_otherwise(name, request):
    scorer = request.getfixturevalue(name)

    def draw(seed: int) -> list[str]:
        asked = {"max_gen_toks": 16, "do_sample": True, "temperature": 1.0, "top_p": 0.9, "seed": seed}
        return scorer.generate_until(ask("generate_until", ("A still", asked), ("Water", asked)), disable_tqdm=True)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_what_is_drawn_is_the_same_in_every_runtime_and_whatever_is_answered_beside_it(torch_scorer, onnx_scorer):
    asked = {"max_gen_toks": 16, "do_sample": True, "temperature": 1.0, "top_p": 0.9, "seed": 3}
    requests = ask("generate_until", *((text, asked) for text in ("A still", "Water", "The capital of France is", "x")))
    one, other = (scorer.generate_until(requests, disable_tqdm=True) for scorer in (torch_scorer, onnx_scorer))
    assert one == other
    assert torch_scorer.generate_until(requests[:2], disable_tqdm=True) == one[:2]


def test_what_is_drawn_with_a_cache_is_what_whole_passes_draw(onnx_scorer):
    decoding = Decoding(12, (), 1.0, 0.9, 3)
    generator = generator_of(decoding, 0)
    ids = onnx_scorer.tok_encode("Water")
    prompt_tokens = len(ids)
    while len(ids) < prompt_tokens + 12 and ids[-1] != onnx_scorer.eot_token_id:
        ids.append(draw_token(onnx_scorer.model.logits(ids)[-1], decoding, generator))
    asked = {"max_gen_toks": 12, "do_sample": True, "temperature": 1.0, "top_p": 0.9, "seed": 3}
    onnx_scorer.generate_until(ask("generate_until", ("Water", asked)), disable_tqdm=True)
    assert list(onnx_scorer.written["Water", decoding].ids) == ids[prompt_tokens:]


@pytest.mark.parametrize("name", ["torch_scorer", "onnx_scorer"])
def test_an_answer_stops_before_a_text_that_ends_it(name, request):
    scorer = request.getfixturevalue(name)

    def answer(until: list[str]) -> str:
        asked = {"until": until, "max_gen_toks": 12}
        return scorer.generate_until(ask("generate_until", ("Water", asked)), disable_tqdm=True)[0]

    whole = answer([])
    assert answer([whole[3]]) == whole.split(whole[3])[0]


def test_an_answer_that_a_text_ends_is_not_written_further(onnx_scorer):
    asked = {"until": [], "max_gen_toks": 12}
    whole = onnx_scorer.generate_until(ask("generate_until", ("Water", asked)))[0]
    onnx_scorer.generate_until(ask("generate_until", ("Water", asked | {"until": [whole[3]]})))
    assert len(onnx_scorer.written["Water", Decoding(12, (whole[3],))].ids) < 12


def test_prompts_of_many_lengths_are_answered_side_by_side_as_alone(tiny_onnx, tiny_model):
    asked = {"until": [], "max_gen_toks": 8}
    requests = ask("generate_until", *((context, asked) for context, _ in PAIRS))
    answers = {}
    for folder in (tiny_onnx, tiny_model):
        for size in (1, 4):
            answers[folder, size] = scorer_of(folder, compute=COMPUTE, batch_size=size).generate_until(requests)
    assert len({tuple(found) for found in answers.values()}) == 1


@pytest.mark.parametrize("name", ["torch_scorer", "onnx_scorer"])
def test_whole_texts_score_as_lm_evals_own_model_scores_them(name, reference, request):
    texts = ["The still drips slowly.", "far too long for this model " * 20, ""]
    scorer = request.getfixturevalue(name)
    found = scorer.loglikelihood_rolling(ask("loglikelihood_rolling", *((text,) for text in texts)))
    some = ask("loglikelihood_rolling", *((text,) for text in texts if text))
    expected = reference.loglikelihood_rolling(some, disable_tqdm=True)
    assert found == pytest.approx([*expected, 0.0], abs=1e-3)


def test_what_the_model_cannot_read_whole_is_counted_for_answers_and_for_prompts(tiny_onnx):
    scorer = scorer_of(tiny_onnx, compute=COMPUTE, batch_size=4)
    scorer.loglikelihood(ask("loglikelihood", *PAIRS))
    assert scorer.cut == 1
    long = PAIRS[-1][0]
    scorer.generate_until(ask("generate_until", ("short", {"max_gen_toks": 4}), (long, {"max_gen_toks": 4})))
    assert scorer.cut == 2
    # Known already, and cut all the same.
    scorer.loglikelihood(ask("loglikelihood", *PAIRS))
    assert scorer.cut == 3


def test_an_answer_as_long_as_the_context_is_refused(onnx_scorer):
    with pytest.raises(InputError, match="an answer of up to 128 tokens is asked for, and the model reads 128 at once"):
        onnx_scorer.generate_until(ask("generate_until", ("Water", {"max_gen_toks": 128})))


def test_an_empty_answer_is_refused_by_its_name_and_an_empty_question_is_not(onnx_scorer):
    with pytest.raises(InputError, match="nothing to score at document 1 of a task, which begins 'Water'"):
        onnx_scorer.loglikelihood(ask("loglikelihood", ("", " wet"), ("Water", "")))
    empty = onnx_scorer.generate_until(ask("generate_until", ("", {"max_gen_toks": 3})))
    assert len(empty) == 1 and len(onnx_scorer.written["", Decoding(3)].ids) in (1, 2, 3)


@pytest.fixture(scope="module")
def broken_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph in which the embedding of one token, and with it that token's logit, is no number."""
    folder = tmp_path_factory.mktemp("broken") / "model"
    shutil.copytree(tiny_onnx, folder)
    model = onnx.load(tiny_onnx / "model.onnx")
    tables = [each for each in model.graph.initializer if list(each.dims) in ([300, 32], [32, 300])]
    assert tables
    for table in tables:
        values = numpy_helper.to_array(table).copy()
        values[(7, slice(None)) if values.shape[0] == 300 else (slice(None), 7)] = np.nan
        table.CopyFrom(numpy_helper.from_array(values, table.name))
    save_model(model, folder)
    return folder


def test_logits_that_are_no_numbers_are_an_error_that_names_the_request(broken_onnx):
    scorer = scorer_of(broken_onnx, compute=COMPUTE, batch_size=4)
    with pytest.raises(FloatingPointError, match="not finite.*seen at document 0 of a task, which begins 'The capital"):
        scorer.loglikelihood(ask("loglikelihood", *PAIRS[:1]))
    with pytest.raises(FloatingPointError, match="not finite.*seen at document 0 of a task, which begins 'Water'"):
        scorer.generate_until(ask("generate_until", ("Water", {"max_gen_toks": 3})))


def test_a_chat_is_written_by_the_template_and_refused_without_one(torch_scorer, tiny_model, tmp_path):
    said = [{"role": "user", "content": "Is water wet?"}]
    assert torch_scorer.apply_chat_template(said) == "<|start|>user\nIs water wet?<|end|>\n<|start|>assistant\n"
    plain = tmp_path / "plain"
    shutil.copytree(tiny_model, plain)
    (plain / "chat_template.jinja").unlink()
    scorer = scorer_of(plain, compute=COMPUTE, batch_size=1)
    with pytest.raises(InputError, match="a chat task was asked of a model without a chat template"):
        scorer.apply_chat_template(said)
