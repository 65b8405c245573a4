import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from evaluation.decoding import Decoding, draw_token, generator_of
from evaluation.lm_eval_model import TransformersScorer, VariantScorer, scorer_of
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.recipe.compute import Compute

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
    return [Instance(request_type=kind, doc={}, arguments=each, idx=number) for number, each in enumerate(arguments)]


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
    assert (type(torch_scorer), type(onnx_scorer)) == (TransformersScorer, VariantScorer)


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


def test_answers_that_the_same_tokens_lead_up_to_share_one_pass(onnx_scorer, monkeypatch):
    passes = []
    model = onnx_scorer._model
    monkeypatch.setattr(onnx_scorer, "_model", type("Counted", (), {"logits": lambda self, ids: see(ids)})())

    def see(ids):
        passes.append(ids)
        return model.logits(ids)

    onnx_scorer._loglikelihood_tokens([(("q", "y"), [5, 6], [7]), (("q", "n"), [5, 6], [8]), (("q", "z"), [5], [6])])
    assert passes == [(5, 6), (5,)]


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
        ids.append(draw_token(onnx_scorer._model.logits(ids)[-1], decoding, generator))
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


def test_whole_texts_are_not_scored_by_a_variant(onnx_scorer):
    with pytest.raises(NotImplementedError, match="held-out text is measured by held_out"):
        onnx_scorer.loglikelihood_rolling([])
