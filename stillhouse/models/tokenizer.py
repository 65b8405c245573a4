"""Tokenizers of model folders: opened without a hub, and told apart by what they do to text."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.errors import InputError
from stillhouse.serving.opening import opening_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from stillhouse.store.artifact import Inputs

_MODEL_KEYS = ("type", "ignore_merges", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_NO_EFFECT_ON_IDS = ("trim_offsets",)


def open_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> "PreTrainedTokenizerFast":
    """The tokenizer of a directory, with the end token as padding where it has none of its own.

    Raises:
        InputError: If there is no tokenizer, if it is not backed by the `tokenizers` library (a package could not
            carry it), or if it has no end token.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise InputError(
            f"{folder.name} has no tokenizer: one of {', '.join(_VOCABULARIES)} belongs beside its weights"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise InputError(f"cannot open the tokenizer of {folder.name}: {_first_line(error)}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(
            f"the tokenizer of {folder.name} is {type(tokenizer).__name__}, which is pure Python: only one with a "
            "tokenizer.json can be packaged; convert it with transformers' convert_slow_tokenizer"
        )
    if tokenizer.eos_token is None:
        raise InputError(f"the tokenizer of {folder.name} has no end token: set eos_token in tokenizer_config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # No decoder takes token_type_ids, which a tokenizer of the general class gives by default.
    inputs = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = inputs
    return tokenizer


def tokenizer_folder(inputs: "Inputs") -> Path:
    """Where the student's tokenizer lies among what a stage reads: `tokenizer` where it has its own, else `teacher`."""
    return inputs.get("tokenizer", inputs["teacher"])


def opening_ids(tokenizer: "PreTrainedTokenizerFast") -> list[int]:
    """The special tokens that a tokenizer puts before a text: one of Llama and Gemma, none of GPT-2, Qwen and SmolLM2.

    A model that was trained behind them is another one without: every text is encoded with them, in training, in
    measurement and where it is served. A chat template writes its own.
    """
    plain, whole = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    return opening_of(plain, whole)


def untrimmed(tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedTokenizerFast":
    """The tokenizer with offsets that hold white space as its tokens do; ids and special tokens stay as they are.

    A post-processor adds special tokens, which are added by hand here (`opening_ids`, to be asked before), and trims
    offsets: where a token ends would then depend on the tokenizer's conventions, and two tokenizers could not be
    aligned by it.
    """
    from tokenizers import processors

    tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
    return tokenizer


def tokenizer_digest(tokenizer: "PreTrainedTokenizerFast") -> str:
    """SHA-256 of all that decides which ids a text gets: equal digests, equal ids.

    Vocabulary, merges, normalizer, pre-tokenizer and added tokens count. Which token ends a text, which one pads
    and whether BOS is prepended do not: they are conventions, and a student takes over those of its teacher.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    decisive = {
        "model": {key: model[key] for key in _MODEL_KEYS if model.get(key)},
        "vocabulary": tokenizer.get_vocab(),
        # Unigram keeps its scores in the vocabulary, BPE its order of merging beside it.
        "scores": model["vocab"] if isinstance(model["vocab"], list) else [],
        "merges": model.get("merges", []),
        "normalizer": state["normalizer"],
        "pre_tokenizer": _without(state["pre_tokenizer"], _NO_EFFECT_ON_IDS),
        "added": sorted(state["added_tokens"], key=lambda token: token["id"]),
    }
    text = json.dumps(decisive, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, keys) for key, inner in value.items() if key not in keys}
    return [_without(inner, keys) for inner in value] if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
