"""Can this machine compile what torch.compile writes? Tried once, and remembered by the store."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from stillhouse import child
from stillhouse.recipe.settings import Settings
from stillhouse.store.artifact import FACTS, Inputs


class ProbeCompilerSettings(Settings):
    """What the answer depends on, besides the library versions that are in every key."""

    device: str
    """A torch device."""
    device_name: str
    """Model of the processor or accelerator."""


def probe_compiler(settings: ProbeCompilerSettings, inputs: Inputs, folder: Path) -> None:
    """Compile a product and a sum, forward and backward, and write whether that went and what stood in the way.

    In a process of its own: what a compiler does when something of it is missing, this one need not go through.
    """
    del inputs
    with TemporaryDirectory() as place:
        # What was compiled before would be found and say nothing of the compiler.
        empty = {"TORCHINDUCTOR_CACHE_DIR": place}
        try:
            child.run(f"{__name__}:compile_something", {"device": settings.device}, environment=empty)
            found = {"compiles": True, "reason": ""}
        except child.ChildError as error:
            found = {"compiles": False, "reason": str(error).splitlines()[0][:300]}
    (folder / FACTS).write_text(json.dumps(found), encoding="utf-8")


def compile_something(payload: dict[str, Any]) -> dict[str, Any]:
    """Raise what torch.compile raises here, or nothing."""
    weight = torch.ones(8, 8, device=payload["device"], requires_grad=True)
    torch.compile(lambda some: (some @ some.sin()).sum())(weight).backward()
    return {}
