"""Make the teacher of recipes/tiny.yaml: six layers, a vocabulary of its own, about a megabyte of weights.

It is trained on the training split that the recipe itself would take, so its validation and held-out texts are new
to it. Passages are BoolQ's (Wikipedia, CC BY-SA 3.0); sums are generated.

    python -m tests.make_tiny_teacher      (about 10 minutes on one CPU core; the same bytes on the same processor)
"""

import tempfile
from pathlib import Path

import numpy as np
import reasoning_gym
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stillhouse.data.document import read_documents, words
from stillhouse.data.documents import gather_documents, gather_settings
from stillhouse.data.sources import check_data
from stillhouse.losses.cross_entropy import cross_entropy
from stillhouse.models.load import count_parameters, save_model
from stillhouse.recipe import load_recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "tiny.yaml"
FOLDER = ROOT / "tests" / "tiny_teacher"
VOCABULARY = 1024
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STEPS, ROWS, LENGTH, PEAK = 1200, 16, 256, 5e-3


def training_texts() -> list[str]:
    """The passages of the recipe's training split, all of them rather than the recipe's few."""
    recipe = load_recipe(RECIPE)
    passages = recipe.data.sets[0].model_copy(update={"limit": None})
    data = recipe.data.model_copy(update={"sets": (passages,)})
    settings = gather_settings(data, check_data(data, RECIPE.parent), recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        gather_documents(settings, {}, Path(folder))
        return [words(document) for document in read_documents(Path(folder) / "train.jsonl")]


def sums() -> list[str]:
    """Two-term sums as conversations, so that the model knows how a turn begins and ends."""
    items = reasoning_gym.create_dataset("chain_sum", size=1500, seed=1, min_terms=2, max_terms=2, max_digits=1)
    return [
        f"<|im_start|>user\n{item['question']}<|im_end|>\n<|im_start|>assistant\n{item['answer']}<|im_end|>\n"
        for item in items
    ]


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def train(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> LlamaForCausalLM:
    """Train on one long stream of the texts with plain cross-entropy."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=160, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, rope_theta=10000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    order = np.random.default_rng(0).permutation(len(texts))
    encoded = tokenizer([texts[index] + "<|endoftext|>" for index in order], add_special_tokens=False)["input_ids"]
    stream = torch.tensor([token for ids in encoded for token in ids])
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, STEPS, pct_start=0.05)
    starts = np.random.default_rng(1)
    for step in range(STEPS):
        places = starts.integers(0, len(stream) - LENGTH - 1, size=ROWS)
        rows = torch.stack([stream[place : place + LENGTH + 1] for place in places])
        loss = cross_entropy(model(rows[:, :-1]).logits, rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == STEPS - 1:
            print(f"step {step}  loss {loss.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    """Write the model folder."""
    texts = training_texts()
    tokenizer = make_tokenizer(texts)
    model = train(tokenizer, texts + sums())
    FOLDER.mkdir(exist_ok=True)
    save_model(model, tokenizer, FOLDER)
    (FOLDER / "README.md").write_text(
        "---\nlicense: cc-by-sa-3.0\n---\n"
        f"A {count_parameters(model):,}-parameter Llama for tests, made by tests/make_tiny_teacher.py from passages\n"
        "of BoolQ (Clark et al., 2019; text of Wikipedia, CC BY-SA 3.0) and generated sums. It knows a little English\n"
        "and nothing else.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
