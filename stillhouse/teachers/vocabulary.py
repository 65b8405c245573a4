"""The vocabulary that teacher, cache and student share."""

from transformers import PreTrainedTokenizerFast


def true_vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """Ids that a tokenizer can give: a model's head is often padded to more, and those rows mean nothing."""
    return max(tokenizer.get_vocab().values()) + 1
