"""LoRA: low-rank additions to a student's linear layers, trained instead of its weights and merged at the end."""

import torch
from transformers import PreTrainedModel

from stillhouse.errors import InputError
from stillhouse.models.load import quiet_bitsandbytes
from stillhouse.recipe.training_compute import Lora


def add(student: PreTrainedModel, lora: Lora, seed: int) -> None:
    """Put an addition of zero beside each named layer, and freeze all else (Hu et al., 2021).

    Args:
        student: Keeps its class and its own weights' place, so that whatever handles it handles it as before.
        lora: The recipe's section.
        seed: Decides the first values.

    Raises:
        InputError: If the student has no layer of these names.
    """
    quiet_bitsandbytes()
    # peft looks for bitsandbytes as it is imported, which takes seconds that other trainings need not spend.
    from peft import LoraConfig, inject_adapter_in_model

    check_layers(student, lora)
    student.requires_grad_(False)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.layers), lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, student)
    student.eval()


def check_layers(student: torch.nn.Module, lora: Lora) -> None:
    """Refuse names that no linear layer of the student has.

    Raises:
        InputError: Naming them, and those that it has.
    """
    named = {name.rsplit(".", 1)[-1] for name, module in student.named_modules() if isinstance(module, torch.nn.Linear)}
    if absent := sorted(set(lora.layers) - named):
        raise InputError(
            f"compute.lora.layers names {', '.join(absent)}, and the student's linear layers are "
            f"{', '.join(sorted(named)) or 'none'}; name some of these"
        )


def merge(student: PreTrainedModel) -> None:
    """Add each addition to its layer's weight, and leave a model without adapters."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(student.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(student.get_submodule(parent), child, module.get_base_layer())
    student.requires_grad_(True)
