"""The planner: widths that were given, widths that are found for a number of parameters, and what is refused."""

import pytest
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from stillhouse.errors import InputError
from stillhouse.models.decoder import Decoder, Sizes, read_decoder
from stillhouse.models.load import count_parameters
from stillhouse.models.widths import plan_widths, step
from stillhouse.recipe.pruned import DepthAndWidthPruned, WidthPruned

SIZES = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def smollm2() -> Decoder:
    return read_decoder(LlamaConfig(**SMOLLM2), "SmolLM2")


def plan(teacher: Decoder, layers: int | None = 30, **asked) -> Sizes:
    kind = WidthPruned if layers == teacher.sizes.layers else DepthAndWidthPruned
    return plan_widths(kind.model_validate(asked), layers, teacher, "SmolLM2")


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES, tie_word_embeddings=True),
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=24),
        MistralConfig(**SIZES),
        Qwen2Config(**SIZES),
        Qwen3Config(**SIZES, head_dim=32),
    ],
    ids=["llama", "llama-biases", "mistral", "qwen2", "qwen3"],
)
def test_parameters_are_counted_as_the_model_has_them(config):
    decoder = read_decoder(config, "it")
    assert decoder.parameters(decoder.sizes) == count_parameters(AutoModelForCausalLM.from_config(config))


def test_the_published_size_of_smollm2(smollm2):
    assert smollm2.parameters(smollm2.sizes) == 134_515_008


@pytest.mark.parametrize("share", [0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.98])
@pytest.mark.parametrize("layers", [30, 20, None])
def test_a_target_is_never_exceeded_and_missed_by_less_than_a_step(smollm2, share, layers):
    target = int(share * 134_515_008)
    if layers == 20 and share > 0.75:
        pytest.skip("20 whole layers have fewer parameters")
    sizes = plan(smollm2, layers, parameters_share=share)
    more = Sizes(**{**vars(sizes), "feed_forward_size": sizes.feed_forward_size + 64})
    assert smollm2.parameters(sizes) <= target < smollm2.parameters(more)
    assert sizes.hidden_size % 64 == 0 and sizes.feed_forward_size % 64 == 0
    assert sizes.hidden_size % sizes.attention_heads == 0


def test_half_of_smollm2_is_two_thirds_of_every_width(smollm2):
    sizes = plan(smollm2, parameters="67.3M")
    assert (sizes.hidden_size, sizes.feed_forward_size, sizes.key_value_heads) == (384, 1024, 2)
    assert (sizes.layers, sizes.attention_heads, sizes.head_size) == (30, 6, 64)


def test_what_is_given_stays_and_the_rest_is_found(smollm2):
    sizes = plan(smollm2, parameters="67.3M", hidden_size=384)
    assert sizes.hidden_size == 384
    sizes = plan(smollm2, parameters="67.3M", feed_forward_size=1000)
    assert sizes.feed_forward_size == 1000 and smollm2.parameters(sizes) <= 67_300_000


def test_given_widths_are_not_rounded(smollm2):
    sizes = plan(smollm2, hidden_size=558, feed_forward_size=1001)
    assert (sizes.hidden_size, sizes.feed_forward_size, sizes.key_value_heads) == (558, 1001, 3)


def test_the_step_is_64_and_smaller_for_narrow_teachers():
    assert [step(width) for width in (4096, 576, 512, 160, 64, 32, 8, 2)] == [64, 64, 64, 16, 8, 4, 1, 1]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"hidden_size": 640}, "student.hidden_size is 640, but SmolLM2 has 576; keep between 1 and 576"),
        ({"feed_forward_size": 1537}, "student.feed_forward_size is 1537"),
        ({"key_value_heads": 4}, "student.key_value_heads is 4, but SmolLM2 has 3"),
        ({"hidden_size": 512}, "take a multiple of 9, or another student.key_value_heads"),
        ({"parameters": "1M"}, r"has [0-9,]+ parameters, 9,437,184 of them in an embedding of 49,152 tokens by 192"),
        ({"parameters": "20M", "hidden_size": 576}, "28,311,552 of them in an embedding"),
        ({"parameters": "135M"}, "but SmolLM2 has 134,515,008 parameters; ask for fewer"),
    ],
)
def test_what_no_shape_can_be_is_refused(smollm2, asked, said):
    with pytest.raises(InputError, match=said):
        plan(smollm2, **asked)


def test_a_model_whose_tensors_are_not_known_is_refused_by_its_config_alone():
    with pytest.raises(InputError, match="'gpt2', which cannot be made narrower here: llama, mistral"):
        read_decoder(GPT2Config(), "GPT-2")
