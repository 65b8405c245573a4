"""Time and memory of the training loss alone: all logits at once, and in chunks.

Every measurement is a process of its own, the forms take turns within a round, and the peak is what the process took
above its inputs (hidden states, heads, labels). What is measured is everything between hidden states and the gradients
of hidden states and head, both products with the heads included. Run it while nothing else runs.

    python -m benchmarks.loss_memory --out docs/benchmarks/loss_memory.json
    python -m benchmarks.loss_memory --tokens 1024 2048 4096 --vocabularies 49152 128256 --out ...
"""

import argparse
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gauge import Gauge
from flows.environment import code_version, environment
from stillhouse import child, machine, progress, terminal

FORMS = {
    "autograd": "all logits, plain losses, autograd",
    "chunked": "chunks, teacher's hidden states",
    "chunked top-k": "chunks, 12 tokens stored",
    "chunked sampled": "chunks, 12 tokens drawn",
    "chunked text": "chunks, no teacher",
}
ROWS, STORED = 4, 12


def main() -> None:
    """Measure every form at every size, in turns, and write what was found after each."""
    options = _parser().parse_args()
    found: list[dict[str, Any]] = []
    with terminal.shown(), machine.measuring_alone():
        sizes = list(product(options.vocabularies, options.tokens))
        turns = [(size, form) for _ in range(options.repeats) for size in sizes for form in options.forms]
        for number, ((vocabulary, tokens), form) in enumerate(turns):
            progress.step(f"{form}, {tokens} tokens of {vocabulary}", number, len(turns), {})
            case = {"form": form, "tokens": tokens, "vocabulary": vocabulary, "features": options.features}
            case |= {"precision": options.precision, "threads": options.threads, "device": options.device}
            found.append(case | child.run("benchmarks.loss_memory:measure", case, threads=options.threads))
            _write(options.out, found)
    print("\n".join(table(found)))


def _write(out: Path, found: list[dict[str, Any]]) -> None:
    settings = {"alpha": 0.5, "temperature": 1.0, "rows": ROWS, "stored": STORED}
    origin = {"code": code_version(), "environment": environment()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"settings": settings, "runs": found} | origin, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(page(found, origin["environment"]), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024], help=f"in {ROWS} rows (default: 1024)")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[49152])
    parser.add_argument("--features", type=int, default=576, help="of student and teacher (default: 576)")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="bf16: autocast, fp32 weights")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--repeats", type=int, default=5, help="processes for each form and size (default: 5)")
    parser.add_argument("--threads", type=int, default=machine.usable_cores())
    parser.add_argument("--device", default="cpu", help="a torch device (default: cpu)")
    return parser


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the fastest of three steps after one to warm up, the highest memory of all, and the loss."""
    torch.set_num_threads(case["threads"])
    gauge = Gauge(case["device"])
    step = _step(case)
    gauge.forget_peak()
    before, seconds = gauge.held_bytes(), []
    for _ in range(4):
        started = gauge.seconds()
        loss = step()
        seconds.append(gauge.seconds() - started)
    return {
        "seconds": min(seconds[1:]),
        "peak_bytes_above_inputs": gauge.peak_bytes() - before,
        "loss": loss,
    }


def _step(case: dict[str, Any]) -> Callable[[], float]:
    """One forward and backward of the loss, from inputs that exist already."""
    from stillhouse.losses.chunked import FactoredLogits

    bf16, device = case["precision"] == "bf16", case["device"]
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device=device).normal_(generator=generator)

    shape, vocabulary = (ROWS, case["tokens"] // ROWS), case["vocabulary"]
    student, teacher = (
        FactoredLogits(normal(*shape, case["features"]), normal(vocabulary, case["features"]).mul_(0.1))
        for _ in range(2)
    )
    parameters = [tensor.requires_grad_() for tensor in (student.hidden, student.head)]
    if bf16:
        teacher = FactoredLogits(teacher.hidden.bfloat16(), teacher.head.bfloat16())
    labels = torch.randint(0, vocabulary, shape, generator=generator, device=device)
    ids = torch.randint(0, vocabulary, (*shape, STORED), generator=generator, device=device)
    loss = _losses(student, teacher, labels, ids, bf16)[case["form"]]

    def step() -> float:
        for tensor in parameters:
            tensor.grad = None
        value = loss()
        value.backward()
        return value.item()

    return step


def _losses(student: Any, teacher: Any, labels: Any, ids: Any, bf16: bool) -> dict[str, Callable[[], Any]]:
    import torch.nn.functional as F

    from stillhouse.losses import cross_entropy, forward_kl
    from stillhouse.losses.chunked import DenseTarget, SampledTarget, TopKTarget, chunked_loss, divergences

    values = torch.full(ids.shape, -3.0, device=ids.device)

    # The products alone: the losses on whole logits belong outside of it, for some of their sums it would round.
    def autocast() -> torch.autocast:
        return torch.autocast(labels.device.type, torch.bfloat16, enabled=bf16)

    def logits() -> tuple[torch.Tensor, torch.Tensor]:
        with autocast():
            with torch.no_grad():
                of_teacher = F.linear(teacher.hidden, teacher.head)
            return F.linear(student.hidden, student.head), of_teacher

    def autograd() -> torch.Tensor:
        of_student, of_teacher = logits()
        return 0.5 * cross_entropy(of_student, labels) + 0.5 * forward_kl(of_student, of_teacher, labels)

    def chunked(target: Any) -> torch.Tensor:
        with autocast():
            return chunked_loss(student, labels, target, alpha=0.5).loss

    return {
        "autograd": autograd,
        "chunked": lambda: chunked(DenseTarget(teacher, divergences.forward_kl())),
        "chunked top-k": lambda: chunked(TopKTarget(ids, values)),
        "chunked sampled": lambda: chunked(SampledTarget(ids, values.exp())),
        "chunked text": lambda: chunked(None),
    }


def page(runs: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """What was found as a page to read."""
    one = runs[0]
    on_processor = f"{one['threads']} threads of {environment['processor']}"
    where = on_processor if one["device"] == "cpu" else environment["accelerator"]
    sizes = sorted({run["vocabulary"] for run in runs})
    heads = " and ".join(f"{4 * one['features'] * size / 2**20:,.0f} MiB at {size:,} words" for size in sizes)
    return f"""# The training loss alone: all logits at once, and in chunks

From hidden states of {one["features"]} features to their gradients and the head's, both products with the heads
included: alpha 0.5, {one["precision"]}, {where}. The fastest of three steps; median (range) over fresh processes that
take turns. Memory is what a process took above its inputs. The gradient of the head
in fp32 alone is {heads}.

{chr(10).join(table(runs))}

Made by `python -m benchmarks.loss_memory`; every measurement is in the JSON file beside this page.
"""


def table(runs: list[dict[str, Any]]) -> list[str]:
    """Median and range of time, and median of memory, as a Markdown table."""
    lines = ["| form | vocabulary | tokens | seconds | MiB above inputs |", "|---|--:|--:|--:|--:|"]
    for form, vocabulary, tokens in dict.fromkeys((run["form"], run["vocabulary"], run["tokens"]) for run in runs):
        same = [run for run in runs if (run["form"], run["vocabulary"], run["tokens"]) == (form, vocabulary, tokens)]
        seconds = sorted(run["seconds"] for run in same)
        memory = median(run["peak_bytes_above_inputs"] for run in same) / 2**20
        spread = f"{median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"
        lines.append(f"| {FORMS[form]} | {vocabulary:,} | {tokens:,} | {spread} | {memory:,.0f} |")
    return lines


if __name__ == "__main__":
    main()
