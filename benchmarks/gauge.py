"""Seconds and bytes of work on a device: a processor's are the process's, an accelerator's are its own."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from stillhouse import machine


@dataclass(frozen=True)
class Gauge:
    """Reads one device."""

    device: str
    """A torch device; on one that is no processor, work is waited for before the clock is read."""

    def seconds(self) -> float:
        """The clock, once all work that was asked for is done."""
        if self._is_accelerator():
            torch.accelerator.synchronize()
        return time.perf_counter()

    def held_bytes(self) -> int:
        """Memory that is held now: resident in the process, or allocated on the accelerator."""
        if self._is_accelerator():
            return torch.accelerator.memory_allocated()
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def forget_peak(self) -> None:
        """Begin a new peak."""
        if self._is_accelerator():
            torch.accelerator.reset_peak_memory_stats()
        else:
            machine.forget_peak_memory()

    def peak_bytes(self) -> int:
        """The highest since then."""
        return torch.accelerator.max_memory_allocated() if self._is_accelerator() else machine.peak_memory_bytes()

    def _is_accelerator(self) -> bool:
        return torch.device(self.device).type != "cpu"
