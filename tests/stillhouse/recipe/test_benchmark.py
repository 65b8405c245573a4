"""What the section `benchmark` allows."""

import pytest
from pydantic import ValidationError

from stillhouse.recipe.benchmark import Benchmark


def test_one_number_is_a_list_of_one():
    asked = Benchmark.model_validate({"prompt_tokens": 64, "batch_sizes": 1})
    assert (asked.prompt_tokens, asked.batch_sizes) == ((64,), (1,))


def test_one_prompt_at_a_time_is_always_measured():
    assert Benchmark(batch_sizes=(4, 1, 8)).batch_sizes == (4, 1, 8)
    with pytest.raises(ValidationError, match="batch_sizes is 4, 8; 1 must be among them"):
        Benchmark(batch_sizes=(4, 8))
    with pytest.raises(ValidationError, match="batch_sizes is empty"):
        Benchmark(batch_sizes=())


def test_one_start_says_nothing_of_the_spread():
    assert (Benchmark(starts=0).starts, Benchmark(starts=2).starts) == (0, 2)
    with pytest.raises(ValidationError, match="give 2 or more, or 0 for none"):
        Benchmark(starts=1)
