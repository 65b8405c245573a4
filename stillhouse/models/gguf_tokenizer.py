"""The tokenizer of a GGUF file, built from the file's own fields.

Why not by transformers: in 4.57 its conversion takes the wrong end token, sets no padding token, prepends a BOS
token that the file forbids, does not split digits, and cleans up spaces when it decodes.
The pre-tokenizers are those of llama.cpp's `llm_tokenizer_bpe` (src/llama-vocab.cpp), which are those of the
models' own `tokenizer.json`.
"""

from typing import TYPE_CHECKING, Any

from stillhouse.errors import InputError
from stillhouse.models.gguf import GgufHeader

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""Values of `tokenizer.ggml.token_type`."""
ROLES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
"""Name of each special role in transformers, and in GGUF."""

DIGITS_ONE_BY_ONE = ("smollm", "starcoder", "refact")
PLAIN = ("gpt-2",)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama-bpe": rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    "qwen2": rf"{_WORDS}|\p{{N}}|{_REST}",
}
"""Pre-tokenizers that split by one pattern of their own."""


def tokenizer_of_gguf(header: GgufHeader) -> "PreTrainedTokenizerFast":
    """The tokenizer with its special tokens, its chat template and its way of adding a BOS token.

    Raises:
        InputError: If the file has no byte-level BPE tokenizer, or one whose pre-tokenizer is not known here.
    """
    from transformers import PreTrainedTokenizerFast

    kind = _field(header, "tokenizer.ggml.model")
    if kind != "gpt2":
        raise InputError(
            f"{header.name} has a tokenizer of kind {kind!r}: only byte-level BPE ('gpt2') is rebuilt from GGUF; "
            "give a directory with a tokenizer.json"
        )
    roles = _role_tokens(header)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe(header, roles.get("bos_token")),
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=_field(header, f"{header.architecture}.context_length"),
        **roles,
    )
    tokenizer.chat_template = header.fields.get("tokenizer.chat_template")
    return tokenizer


def _byte_level_bpe(header: GgufHeader, bos_token: str | None) -> "Tokenizer":
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pre = header.fields.get("tokenizer.ggml.pre", "not stated")
    tokens, kinds = _field(header, "tokenizer.ggml.tokens"), _field(header, "tokenizer.ggml.token_type")
    vocabulary = {token: index for index, token in enumerate(tokens) if kinds[index] != UNUSED}
    merges = [tuple(merge.split(" ")) for merge in _field(header, "tokenizer.ggml.merges")]
    try:
        # Llama 3 looks a whole word up before it merges anything.
        tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre == "llama-bpe"))
    except Exception as error:  # tokenizers raises no narrower type
        raise InputError(f"{header.name} has tokens and merges that do not fit together: {error}") from None
    tokenizer.pre_tokenizer = _pre_tokenizer(pre, header.name)
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind == CONTROL, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (CONTROL, USER_DEFINED)
        ]
    )
    # llama.cpp prepends BOS for Llama 3 unless the file says otherwise.
    if bos_token and header.fields.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe"):
        _prepend(tokenizer, bos_token)
    return tokenizer


def _pre_tokenizer(pre: str, name: str) -> Any:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    if pre in DIGITS_ONE_BY_ONE:
        return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    if pre in PLAIN:
        return ByteLevel(add_prefix_space=False)
    if pre in PATTERNS:
        split = Split(Regex(PATTERNS[pre]), behavior="isolated")
        return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    known = ", ".join(sorted({*DIGITS_ONE_BY_ONE, *PLAIN, *PATTERNS}))
    raise InputError(
        f"{name} splits text by pre-tokenizer {pre!r}: the known ones are {known}; "
        "give a directory with a tokenizer.json"
    )


def _prepend(tokenizer: "Tokenizer", bos_token: str) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single=[bos_token, "$A"],
        pair=[bos_token, "$A", f"{bos_token}:1", "$B:1"],
        special_tokens=[(bos_token, tokenizer.token_to_id(bos_token))],
    )


def _role_tokens(header: GgufHeader) -> dict[str, str]:
    tokens = _field(header, "tokenizer.ggml.tokens")
    ids = {role: header.fields.get(f"tokenizer.ggml.{key}_token_id") for role, key in ROLES.items()}
    if ids["eos_token"] is None:
        raise InputError(
            f"{header.name} names no end token (tokenizer.ggml.eos_token_id): give a directory with a tokenizer.json"
        )
    if ids["pad_token"] is None:
        ids["pad_token"] = ids["eos_token"]
    return {role: tokens[index] for role, index in ids.items() if index is not None}


def _field(header: GgufHeader, key: str) -> Any:
    if key not in header.fields:
        raise InputError(f"{header.name} has no field {key}: its tokenizer cannot be rebuilt from it")
    return header.fields[key]
