"""All that is measured on a GPU, in 20 minutes: the loss alone, a step, a capture, and how much of the chip is used.

Liger's fused losses are the mark for the first (H100, 4,096 features, 128,256 words, 8,192 tokens of bf16: 68.9 GB of
all logits to 11.1 GB, 213 ms to 60.7 ms); TRL's trainer and a plain loop stand beside the second, in the same run.
Whatever has been measured when the time is over is on disk. TRL comes with `pip install -e '.[bench]'`.

    python -m benchmarks.gpu.everything --out docs/benchmarks/gpu --peak-teraflops 989
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

MINUTES = 20


def main() -> int:
    """Run each benchmark in a process of its own, as long as there is time."""
    options = _parser().parse_args()
    if not torch.accelerator.is_available():
        print("this needs an accelerator, and torch sees none; the same benchmarks run on a processor by `make bench`")
        return 2
    ends = time.monotonic() + 60 * options.minutes
    failed = 0
    for name, arguments in _orders(options):
        left = ends - time.monotonic()
        if left < 60:
            print(f"{name}: left out, the {options.minutes} minutes are over")
            continue
        print(f"{name}: up to {left / 60:.0f} minutes", flush=True)
        try:
            failed += subprocess.run([sys.executable, "-m", *arguments], timeout=left, check=False).returncode != 0
        except subprocess.TimeoutExpired:
            print(f"{name}: the time is over; what was measured is in {options.out}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for JSON files and pages")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peak-teraflops", type=float, default=989.0, help="in bf16, dense (default: an H100's 989)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"in all (default: {MINUTES})")
    return parser


def _orders(options: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """Name of each measurement and its command line, the most telling first."""
    device = ["--device", options.device]
    step = ["benchmarks.distillation_step", *device, "--peak-teraflops", str(options.peak_teraflops)]
    loss = ["benchmarks.loss_memory", *device, "--features", "4096", "--vocabularies", "128256", "--repeats", "3"]
    yield (
        "the loss at Liger's size",
        [*loss, "--tokens", "1024", "8192", "--out", str(options.out / "loss_memory.json")],
    )
    for rows, repeats in ((16, 3), (64, 2)):
        out = str(options.out / f"distillation_step_{rows}.json")
        sized = ["--rows", str(rows), "--length", "512", "--repeats", str(repeats)]
        yield f"a step of {rows} rows", [*step, *sized, "--out", out]
    capture = ["benchmarks.capture_speed", *device, "--tokens", "200000", "--repeats", "3"]
    yield "a capture", [*capture, "--out", str(options.out / "capture_speed.json")]


if __name__ == "__main__":
    sys.exit(main())
