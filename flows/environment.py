"""What `results.json` says of the code and of the machine."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stillhouse import machine
from stillhouse.store.fingerprint import PROJECT_ROOT

_LIBRARIES = (
    "torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime-gpu", "onnxruntime", "lm-eval",
    "prefect", "tokenizers", "safetensors", "numpy",
)  # fmt: skip


@cache
def code_version() -> dict[str, str]:
    """The project's version and commit, `-dirty` where the tree differs from it, `unknown` outside git.

    `docs/` is not looked at: no number depends on it, and studies write their results there as they go.
    """
    return {"version": version("stillhouse"), "commit": _commit()}


def device_name(device: str) -> str:
    """Model of the processor or accelerator behind a torch device."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else machine.processor()


@cache
def environment() -> dict[str, Any]:
    """Python, system, hardware and the versions of the libraries that numbers depend on."""
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {name: _version(name) for name in _LIBRARIES}
    return {
        "python": platform.python_version(),
        **machine.hardware(),
        "accelerator": accelerator,
        "libraries": {name: found for name, found in versions.items() if found is not None},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    try:
        commit = _run("git", "rev-parse", "HEAD")
        changed = _run("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()
