"""Which widths a student gets: those that were given, and for a number of parameters those that were not.

A width that is found is a multiple of a step: 64, what bitsandbytes' 4-bit kernels and blocks like, or for a narrow
teacher the largest power of two that is at most an eighth of its width.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import log

from stillhouse.errors import InputError
from stillhouse.models.decoder import Decoder, Sizes
from stillhouse.recipe.pruned import Widths

_STEP = 64
# Heads as wide as the hidden size are worth something, but not a student that is all hidden size.
_MOST_UNEVEN = 3
# Feed-forward channels are the finest measure, so they come last: what is last is filled up.
_WIDTHS = ("key_value_heads", "hidden_size", "feed_forward_size")


def plan_widths(asked: Widths, layers: int | None, teacher: Decoder, name: str) -> Sizes:
    """Give the sizes of a student that is cut from a teacher.

    Of all shapes that keep to the number of parameters, each with as many feed-forward channels as fit, it is the one
    whose layers, hidden size, feed-forward size and heads shrink most evenly; of two alike the larger. Shapes whose
    heads together are as wide as the hidden size come first, if the teacher's are and no factor is thrice another.

    Args:
        asked: Widths, a number of parameters, or some of both.
        layers: Layers that stay; None where their number is to be found as well.
        teacher: What is cut.
        name: What an error calls the teacher.

    Raises:
        InputError: If a width is larger than the teacher's or does not fit the others, or if no shape is small enough.
    """
    _refuse_larger(asked, layers, teacher.sizes, name)
    target = _target(asked, teacher)
    if target is None:
        assert layers is not None
        return _given(asked, layers, teacher.sizes)
    if target >= teacher.parameters(teacher.sizes):
        raise InputError(
            f"student.parameters is {target:,}, but {name} has {teacher.parameters(teacher.sizes):,} parameters; "
            "ask for fewer"
        )
    dimensions = _dimensions(asked, layers, teacher.sizes)
    square = _best(dimensions, teacher, target, _is_square)
    if square is not None and not square.full and square.uneven <= log(_MOST_UNEVEN):
        return square.sizes
    best = _best(dimensions, teacher, target, _divides)
    if best is None:
        raise _too_few(dimensions, teacher, target, name)
    return best.sizes


def step(width: int) -> int:
    """What a width that is found is a multiple of, for a teacher of this width."""
    return min(_STEP, 1 << max(0, (width // 8).bit_length() - 1))


def _target(asked: Widths, teacher: Decoder) -> int | None:
    if asked.parameters_share is not None:
        return int(asked.parameters_share * teacher.parameters(teacher.sizes))
    return asked.parameters


def _refuse_larger(asked: Widths, layers: int | None, teacher: Sizes, name: str) -> None:
    limits = {
        "layers": (layers, teacher.layers),
        "hidden_size": (asked.hidden_size, teacher.hidden_size),
        "feed_forward_size": (asked.feed_forward_size, teacher.feed_forward_size),
        "key_value_heads": (asked.key_value_heads, teacher.key_value_heads),
    }
    for key, (value, most) in limits.items():
        if value is not None and value > most:
            raise InputError(f"student.{key} is {value}, but {name} has {most}; keep between 1 and {most}")


def _given(asked: Widths, layers: int, teacher: Sizes) -> Sizes:
    sizes = replace(
        teacher,
        layers=layers,
        hidden_size=asked.hidden_size or teacher.hidden_size,
        feed_forward_size=asked.feed_forward_size or teacher.feed_forward_size,
        key_value_heads=asked.key_value_heads or teacher.key_value_heads,
    )
    if not _divides(sizes, teacher):
        heads = sizes.attention_heads
        raise InputError(
            f"student.hidden_size is {sizes.hidden_size} with {heads} query heads, and must be a multiple of their "
            f"number, which transformers 5 and other readers of a config insist on; take a multiple of {heads}, or "
            "another student.key_value_heads"
        )
    return sizes


def _divides(sizes: Sizes, teacher: Sizes) -> bool:
    """Whether hidden size and heads go together; a teacher that breaks the rule shows that its readers do without."""
    return teacher.hidden_size % teacher.attention_heads != 0 or sizes.hidden_size % sizes.attention_heads == 0


def _is_square(sizes: Sizes, teacher: Sizes) -> bool:
    """Whether the heads together are as wide as the hidden size, as far as the teacher's are.

    optimum's ORTModelForCausalLM takes a head for `hidden_size / num_attention_heads` channels, whatever a config says,
    and so do others; a width that is found lets them open the student. One that is given need not.
    """
    whole = teacher.attention_heads * teacher.head_size
    return teacher.hidden_size != whole or sizes.hidden_size == sizes.attention_heads * sizes.head_size


@dataclass(frozen=True)
class _Filled:
    """A shape whose last dimension is as large as the number of parameters allows."""

    sizes: Sizes
    parameters: int
    full: bool
    """Whether that dimension is as large as the teacher's, so that the shape may be far smaller than was asked."""
    uneven: float
    """How far the factors lie apart by which that shrinks which was to be found, as a logarithm."""

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Of two shapes the one of lower rank is better."""
        return self.full, self.uneven, -self.parameters


def _dimensions(asked: Widths, layers: int | None, teacher: Sizes) -> dict[str, Sequence[int]]:
    """What may be chosen, by the names of the sizes, smallest first; what is given leaves no choice.

    The one that is filled up comes last: feed-forward channels, or where these are given the next best.
    """
    given = (("layers", layers), *((key, getattr(asked, key)) for key in _WIDTHS))
    dimensions: dict[str, Sequence[int]] = {}
    for key, value in given:
        most = getattr(teacher, key)
        by = step(most) if key in ("hidden_size", "feed_forward_size") else 1
        dimensions[key] = (value,) if value is not None else (*range(by, most, by), most)
    # Stable: among those with a choice the order stays.
    return dict(sorted(dimensions.items(), key=lambda item: len(item[1]) > 1))


def _best(
    dimensions: Mapping[str, Sequence[int]], teacher: Decoder, target: int, fits: Callable[[Sizes, Sizes], bool]
) -> _Filled | None:
    """The best shape within the number of parameters whose hidden size and heads go together."""
    shapes = _shapes(dimensions, teacher)
    filled = (_filled(dimensions, shape, teacher, target, fits) for shape in shapes)
    return min((each for each in filled if each is not None), key=lambda each: each.rank, default=None)


def _shapes(dimensions: Mapping[str, Sequence[int]], teacher: Decoder) -> Iterator[Sizes]:
    """Every choice of all dimensions but the last, which is the smallest."""
    *outer, last = dimensions
    for values in product(*(dimensions[key] for key in outer)):
        yield replace(teacher.sizes, **dict(zip(outer, values, strict=True)), **{last: dimensions[last][0]})


def _filled(
    dimensions: Mapping[str, Sequence[int]],
    shape: Sizes,
    teacher: Decoder,
    target: int,
    fits: Callable[[Sizes, Sizes], bool],
) -> _Filled | None:
    """The shape with as much of the last dimension as fits; None where nothing does."""
    last = list(dimensions)[-1]
    if last == "feed_forward_size" and not fits(shape, teacher.sizes):
        return None
    choices = dimensions[last]

    def with_last(value: int) -> Sizes:
        return replace(shape, **{last: value})

    fitting = choices[: bisect_right(choices, target, key=lambda value: teacher.parameters(with_last(value)))]
    value = next((each for each in reversed(fitting) if fits(with_last(each), teacher.sizes)), None)
    if value is None:
        return None
    sizes = with_last(value)
    uneven = _unevenness(sizes, dimensions, teacher.sizes)
    return _Filled(sizes, teacher.parameters(sizes), value == choices[-1], uneven)


def _unevenness(sizes: Sizes, dimensions: Mapping[str, Sequence[int]], teacher: Sizes) -> float:
    """How far the factors lie apart by which that shrinks which was to be found, as a logarithm."""
    found = [key for key, choices in dimensions.items() if len(choices) > 1]
    factors = [log(getattr(sizes, key) / getattr(teacher, key)) for key in found]
    return round(max(factors) - min(factors), 9)


def _too_few(dimensions: Mapping[str, Sequence[int]], teacher: Decoder, target: int, name: str) -> InputError:
    floor = replace(teacher.sizes, **{key: choices[0] for key, choices in dimensions.items()})
    pairs = product(dimensions["hidden_size"], dimensions["key_value_heads"])
    shapes = [replace(floor, hidden_size=width, key_value_heads=heads) for width, heads in pairs]
    fitting = [shape for shape in shapes if _divides(shape, teacher.sizes)]
    if not fitting:
        return InputError(
            f"no number of heads divides student.hidden_size {floor.hidden_size}; take a multiple of "
            f"{floor.attention_heads}"
        )
    smallest = min(fitting, key=teacher.parameters)
    least, embedding = teacher.parameters(smallest), smallest.vocabulary_size * smallest.hidden_size
    return InputError(
        f"student.parameters is {target:,}, but the smallest student of {name} within the given sizes has {least:,} "
        f"parameters, {embedding:,} of them in an embedding of {smallest.vocabulary_size:,} tokens by "
        f"{smallest.hidden_size}; ask for more, or give smaller sizes"
    )
