"""One linear layer of low rank: how it begins, what it learns, and how many dimensions it is given.

I input features, O output features, R the rank, N token positions.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stillhouse.errors import InputError
from stillhouse.losses.hidden_states import hidden_l1_and_cosine, in_teachers_scale
from stillhouse.models.low_rank_linear import LowRankLinear, WeightedMap, for_sums, map_of_outputs, weighted_map
from stillhouse.recipe.low_rank import LowRank, RanksByEnergy, RanksByParameters

_DAMPING = 1e-2
"""Share of the inputs' mean variance that is added to every direction: one that this text does not use still counts a
little, and full rank is the layer itself."""
_CHUNK_ROWS = 4096
"""Positions at a time where a loss is only measured."""


@dataclass(frozen=True)
class Shown:
    """What a layer is trained on or measured on."""

    inputs: Tensor
    """[N, I], without gradients: nothing below the layer learns from it."""
    answers: Tensor
    """[N, O] what the teacher's layer says at the same positions."""

    def at(self, rows: Tensor | slice) -> "Shown":
        """Some of the positions."""
        return Shown(self.inputs[rows], self.answers[rows])


@dataclass(frozen=True)
class Spectrum:
    """How much of a layer's output each further dimension keeps, and what it costs."""

    energies: tuple[float, ...]
    """Squared singular values of the weighted map, falling."""
    in_features: int
    out_features: int

    @property
    def cost(self) -> int:
        """Parameters of one dimension: a column of one factor and a row of the other."""
        return self.in_features + self.out_features

    @property
    def largest_rank(self) -> int:
        """The largest rank whose factors are smaller than the layer; 0 where there is none."""
        return (self.in_features * self.out_features - 1) // self.cost


@torch.no_grad()
def decompose(linear: nn.Linear, inputs: Sequence[Tensor]) -> WeightedMap:
    """The layer's weight, in the directions that matter to its output on given inputs.

    A position counts in the scale of the layer's output there (`in_teachers_scale`): otherwise the first token of a
    text, whose activations may be tens of times as large, would be nearly all that is kept.

    Args:
        linear: The teacher's layer.
        inputs: [N, I] by batch.
    """
    weight = linear.weight.detach().to(device=for_sums(linear.weight.device), dtype=torch.float64)
    # A layer that narrows is known by the smaller moment, its outputs'.
    narrows = linear.out_features <= linear.in_features
    width = linear.out_features if narrows else linear.in_features
    moment = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    energy = 0.0
    for each in inputs:
        scaled_inputs, scaled_outputs = in_teachers_scale(each, F.linear(each, linear.weight))
        energy += scaled_inputs.double().square().sum().item()
        scaled = (scaled_outputs if narrows else scaled_inputs).to(moment)
        moment += scaled.T @ scaled
    variance = _DAMPING * max(energy / linear.in_features, torch.finfo(torch.float32).tiny)
    if narrows:
        return map_of_outputs(weight, moment + variance * weight @ weight.T)
    moment += variance * torch.eye(width, dtype=torch.float64, device=moment.device)
    return weighted_map(weight @ moment, moment)


def spectrum_of(linear: nn.Linear, found: WeightedMap) -> Spectrum:
    """What `choose_ranks` reads of a layer."""
    return Spectrum(tuple(found.values.square().tolist()), linear.in_features, linear.out_features)


def low_rank_layer(linear: nn.Linear, found: WeightedMap, rank: int) -> LowRankLinear:
    """The layer with the best two factors of a rank, and its own bias, which stays as it is."""
    layer = LowRankLinear(linear.in_features, linear.out_features, rank, bias=linear.bias).to(linear.weight.device)
    layer.set_factors(found.factors(rank))
    return layer


def layer_loss(layer: nn.Module, shown: Shown) -> Tensor:
    """Lillama's loss of a layer's output, in the scale of the teacher's at each position: a scalar."""
    student, teacher = in_teachers_scale(layer(shown.inputs), shown.answers)
    return hidden_l1_and_cosine(student, teacher, torch.ones(len(student), dtype=torch.bool, device=student.device))


@torch.no_grad()
def measure_layer(layer: nn.Module, shown: Shown) -> float:
    """`layer_loss` over all positions."""
    number = len(shown.inputs)
    total = 0.0
    for start in range(0, number, _CHUNK_ROWS):
        part = shown.at(slice(start, start + _CHUNK_ROWS))
        total += layer_loss(layer, part).item() * len(part.inputs)
    return total / max(number, 1)


def train_layer(layer: LowRankLinear, shown: Shown, settings: LowRank, seed: int) -> None:
    """Train the two factors, in place, and nothing else.

    Args:
        layer: Begins with the factors of an SVD.
        shown: Positions to draw from.
        settings: Steps, positions in a step, learning rate.
        seed: Decides the order of positions.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(layer.parameters(), lr=settings.learning_rate)
    number = len(shown.inputs)
    order = torch.randperm(number, generator=generator)
    for step in range(settings.steps):
        places = torch.arange(step * settings.batch_tokens, (step + 1) * settings.batch_tokens) % number
        optimizer.zero_grad(set_to_none=True)
        layer_loss(layer, shown.at(order[places].to(shown.inputs.device))).backward()
        optimizer.step()


def choose_ranks(settings: RanksByParameters | RanksByEnergy, spectra: Mapping[str, Spectrum]) -> dict[str, int]:
    """The rank of each layer that becomes two factors; layers that stay whole are left out.

    Args:
        settings: The criterion.
        spectra: By layer.

    Raises:
        InputError: If not even one dimension each fits.
    """
    match settings:
        case RanksByEnergy():
            ranks = {name: _rank_of_share(found.energies, settings.share) for name, found in spectra.items()}
            return {name: rank for name, rank in ranks.items() if rank <= spectra[name].largest_rank}
        case RanksByParameters():
            return _ranks_of_budget(settings.share, spectra)


def _rank_of_share(energies: Sequence[float], share: float) -> int:
    missing = sum(energies)
    allowed = missing * (1 - share)
    for rank, energy in enumerate(energies):
        if missing <= allowed:
            return max(rank, 1)
        missing -= energy
    return len(energies)


def _ranks_of_budget(share: float, spectra: Mapping[str, Spectrum]) -> dict[str, int]:
    """Spend a budget on the dimensions that keep most of their layer's output for a parameter.

    Each layer's energies fall, so taking the best next dimension anywhere is the best choice altogether: what is
    smallest is the sum over layers of the share of output that is lost. A layer that is given all the dimensions that
    pay stays whole, if the budget has room for it.
    """
    budget = share * sum(found.in_features * found.out_features for found in spectra.values())
    ranks = dict.fromkeys(spectra, 1)
    spent = sum(found.cost for found in spectra.values())
    if spent > budget:
        raise InputError(
            f"student.ranks.share is {share}, {int(budget)} parameters for {len(spectra)} layers, and one dimension "
            f"each takes {spent}: raise it, or name fewer layers in student.linears or student.blocks"
        )
    waiting = [(-_worth(found, 1), name) for name, found in spectra.items()]
    heapq.heapify(waiting)
    whole = set()
    while waiting:
        _, name = heapq.heappop(waiting)
        found = spectra[name]
        if ranks[name] >= found.largest_rank:
            price = found.in_features * found.out_features - ranks[name] * found.cost
            if spent + price <= budget:
                whole.add(name)
                spent += price
            continue
        if spent + found.cost > budget:
            continue
        ranks[name] += 1
        spent += found.cost
        heapq.heappush(waiting, (-_worth(found, ranks[name]), name))
    return {name: rank for name, rank in ranks.items() if name not in whole and rank <= spectra[name].largest_rank}


def _worth(found: Spectrum, rank: int) -> float:
    """Share of the output that dimension `rank + 1` keeps, for a parameter."""
    energy = found.energies[rank] if rank < len(found.energies) else 0.0
    return energy / max(sum(found.energies), 1e-300) / found.cost
