"""Steps of `chain_sum` (running totals), `gcd` (Euclid's algorithm) and `simple_equations` (isolating the unknown)."""

import re
from collections.abc import Sequence
from fractions import Fraction

from stillhouse.reasoning.steps import Checked, Metadata

_SUM = re.compile(r"(-?\d+) ([+-]) (\d+) = (-?\d+)")
_REMAINDER = re.compile(r"(\d+) mod (\d+) = (\d+)")
_TERM = re.compile(r"([+-]?)(?:(\d+)\*?)?([a-z]?)")


def write_sum(metadata: Metadata) -> list[str]:
    """`4 + 3 = 7`, `7 - 2 = 5`: the running total, a term a line."""
    total, terms = _terms_of_sum(metadata)
    steps = []
    for sign, term in terms:
        reached = total + term if sign == "+" else total - term
        steps.append(f"{total} {sign} {term} = {reached}")
        total = reached
    return steps


def check_sum(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must take the total of the line before, the next term, and add them up rightly."""
    total, terms = _terms_of_sum(metadata)
    right = []
    for place, step in enumerate(steps):
        found = _SUM.fullmatch(step)
        if found is None or place >= len(terms):
            right.append(False)
            continue
        before, term, after = int(found[1]), int(found[3]), int(found[4])
        adds_up = after == (before + term if found[2] == "+" else before - term)
        right.append(adds_up and before == total and (found[2], term) == terms[place])
        total = after
    return Checked(tuple(right), len(steps) == len(terms))


def write_gcd(metadata: Metadata) -> list[str]:
    """`12 mod 8 = 4`, `8 mod 4 = 0`: Euclid's algorithm, each further number against what was found so far."""
    first, *others = metadata["numbers"]
    steps: list[str] = []
    for other in others:
        upper, lower = (first, other) if not steps else (other, first)
        while lower:
            steps.append(f"{upper} mod {lower} = {upper % lower}")
            upper, lower = lower, upper % lower
        first = upper
    return steps


def check_gcd(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must divide the divisor of the line before by its remainder, and state the remainder rightly."""
    first, second, *others = metadata["numbers"]
    pair, right = (first, second), []
    for step in steps:
        found = _REMAINDER.fullmatch(step)
        if found is None or pair[1] == 0:
            right.append(False)
            continue
        upper, lower, left = map(int, found.groups())
        right.append((upper, lower) == pair and lower > 0 and left == upper % lower)
        pair = (lower, left)
        if left == 0 and others:
            pair = (others.pop(0), lower)
    return Checked(tuple(right), pair[1] == 0 and not others)


def write_equation(metadata: Metadata) -> list[str] | None:
    """`4*u = 8`, `u = 2`: the constant goes to the right, then the factor is divided out.

    `None` where any number solves the equation: the generator makes `0 = 0` of some tasks.
    """
    name = metadata["variable"]
    found = _linear(metadata["equation"], name)
    if found is None or found[0] == 0:
        return None
    factor, constant, value = found
    steps = [] if constant == 0 or factor == 1 else [f"{factor}*{name} = {value - constant}"]
    return [*steps, f"{name} = {Fraction(value - constant, factor)}"]


def check_equation(metadata: Metadata, steps: Sequence[str]) -> Checked:
    """Each line must be an equation with the solution of the line before; the last must state it."""
    name = metadata["variable"]
    solution = _solution(metadata["equation"], name)
    right = []
    for step in steps:
        found = _solution(step, name)
        right.append(found is not None and found == solution)
        solution = found if found is not None else solution
    return Checked(tuple(right), bool(steps) and re.fullmatch(rf"{name} = -?\d+", steps[-1]) is not None)


def _terms_of_sum(metadata: Metadata) -> tuple[int, list[tuple[str, int]]]:
    first, *rest = metadata["expression"].split()
    return int(first), [(sign, int(term)) for sign, term in zip(rest[::2], rest[1::2], strict=True)]


def _solution(equation: str, name: str) -> Fraction | None:
    found = _linear(equation, name)
    return None if found is None or found[0] == 0 else Fraction(found[2] - found[1], found[0])


def _linear(equation: str, name: str) -> tuple[int, int, int] | None:
    """Factor, constant and right side of `factor*name + constant = number`, its terms in any order."""
    left, is_equation, value = equation.replace(" ", "").partition("=")
    if not is_equation or not left or re.fullmatch(r"-?\d+", value) is None:
        return None
    factor = constant = 0
    place = 0
    while place < len(left):
        term = _TERM.match(left, place)
        if term is None or not (term[2] or term[3]) or (place > 0 and not term[1]) or term[3] not in ("", name):
            return None
        number = int(term[1] + (term[2] or "1"))
        if term[3]:
            factor += number
        else:
            constant += number
        place = term.end()
    return factor, constant, int(value)
