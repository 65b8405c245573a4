"""Time and memory of the training loss alone: all logits at once, and in chunks.

Every measurement is a process of its own, the forms take turns within a round, and the peak is what the process took
above its inputs (hidden states, heads, labels). What is measured is everything between hidden states and the gradients
of hidden states and head, both products with the heads included. Run it while nothing else runs.

    python -m benchmarks.loss_memory --out docs/benchmarks/loss_memory.json
    python -m benchmarks.loss_memory --tokens 1024 2048 4096 --vocabularies 49152 128256 --out ...

DistillKit's losses stand beside ours where it is installed; it is on no package index, and its losses need none of what
it asks for beside torch and transformers:

    pip install --no-deps git+https://github.com/arcee-ai/DistillKit
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
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
PEERS = {
    "DistillKit": "DistillKit, all logits",
    "DistillKit top-k": "DistillKit, 12 tokens stored and their tail",
}
ROWS, STORED = 4, 12


def main() -> None:
    """Measure every form at every size, in turns, and write what was found after each."""
    options = _parser().parse_args()
    forms = _forms(options)
    if not forms:
        raise SystemExit(2)
    found: list[dict[str, Any]] = []
    with terminal.shown(), machine.measuring_alone():
        sizes = list(product(options.vocabularies, options.tokens))
        turns = [(size, form) for _ in range(options.repeats) for size in sizes for form in forms]
        for number, ((vocabulary, tokens), form) in enumerate(turns):
            progress.step(f"{form}, {tokens} tokens of {vocabulary}", number, len(turns), {})
            case = {"form": form, "tokens": tokens, "vocabulary": vocabulary, "features": options.features}
            case |= {"precision": options.precision, "threads": options.threads, "device": options.device}
            found.append(case | child.run("benchmarks.loss_memory:measure", case, threads=options.threads))
            _write(options.out, found)
    print("\n".join(table(found)))


def _forms(options: argparse.Namespace) -> list[str]:
    """What was named, or all that can be run."""
    peers = [form for form in PEERS if form in (options.forms or PEERS)]
    if peers and find_spec("distillkit") is None:
        print(f"DistillKit is not installed, so {', '.join(peers)} are left out; see --help", file=sys.stderr)
        peers = []
    return [form for form in FORMS if form in (options.forms or FORMS)] + peers


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
    parser.add_argument("--forms", nargs="+", choices=(*FORMS, *PEERS), help="default: all that can be run")
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
    # Spread over the vocabulary, none twice.
    places = torch.arange(STORED, device=device) * (vocabulary // STORED)
    ids = (torch.randint(0, vocabulary, (*shape, 1), generator=generator, device=device) + places) % vocabulary
    loss = _loss(case["form"], student, teacher, labels, ids, bf16)

    def step() -> float:
        for tensor in parameters:
            tensor.grad = None
        value = loss()
        value.backward()
        return value.item()

    return step


def _loss(form: str, student: Any, teacher: Any, labels: Any, ids: Any, bf16: bool) -> Callable[[], Any]:
    import torch.nn.functional as F

    from stillhouse.losses import cross_entropy, forward_kl
    from stillhouse.losses.chunked import DenseTarget, SampledTarget, TopKTarget, chunked_loss, divergences

    values = torch.full(ids.shape, -3.0, device=ids.device)

    # The products alone: the losses on whole logits belong outside of it, for some of their sums it would round.
    def autocast() -> torch.autocast:
        return torch.autocast(labels.device.type, torch.bfloat16, enabled=bf16)

    def of_student() -> torch.Tensor:
        with autocast():
            return F.linear(student.hidden, student.head)

    @torch.no_grad()
    def of_teacher() -> torch.Tensor:
        with autocast():
            return F.linear(teacher.hidden, teacher.head)

    def autograd() -> torch.Tensor:
        logits = of_student()
        return 0.5 * cross_entropy(logits, labels) + 0.5 * forward_kl(logits, of_teacher(), labels)

    def chunked(target: Any) -> torch.Tensor:
        with autocast():
            return chunked_loss(student, labels, target, alpha=0.5).loss

    if form in PEERS:
        return _distillkit(of_student, of_teacher, labels, ids, values)[form]
    ours: dict[str, Callable[[], Any]] = {
        "autograd": autograd,
        "chunked": lambda: chunked(DenseTarget(teacher, divergences.forward_kl())),
        "chunked top-k": lambda: chunked(TopKTarget(ids, values)),
        "chunked sampled": lambda: chunked(SampledTarget(ids, values.exp())),
        "chunked text": lambda: chunked(None),
    }
    return ours[form]


def _distillkit(
    of_student: Callable[[], torch.Tensor],
    of_teacher: Callable[[], torch.Tensor],
    labels: torch.Tensor,
    ids: torch.Tensor,
    values: torch.Tensor,
) -> dict[str, Callable[[], torch.Tensor]]:
    """DistillKit's own losses on whole logits, as its trainer calls them: those of the student in fp32."""
    import torch.nn.functional as F
    from distillkit.lossfuncs import KLDLoss, MissingProbabilityHandling
    from distillkit.signals import DenseSignal, SparseSignal
    from transformers.modeling_outputs import CausalLMOutput

    told = {"generation_temperature": 1.0, "hidden_states": None}

    def mixed(student: torch.Tensor, signal: Any, kind: MissingProbabilityHandling) -> torch.Tensor:
        whole = student.float()
        text = F.cross_entropy(whole.flatten(0, 1), labels.flatten())
        divergence = KLDLoss(temperature=1.0, missing_probability_handling=kind)
        mask = (labels >= 0).unsqueeze(-1)
        return 0.5 * text + 0.5 * divergence(CausalLMOutput(logits=whole), signal, mask=mask)

    def dense() -> torch.Tensor:
        student, teacher = of_student(), of_teacher()
        signal = DenseSignal(logits=teacher, vocab_size=teacher.shape[-1], **told)
        return mixed(student, signal, MissingProbabilityHandling.ZERO)

    def top_k() -> torch.Tensor:
        student = of_student()
        signal = SparseSignal(
            sparse_ids=ids, sparse_values=values, log_values=True, vocab_size=student.shape[-1], **told
        )
        return mixed(student, signal, MissingProbabilityHandling.SYMMETRIC_UNIFORM)

    return {"DistillKit": dense, "DistillKit top-k": top_k}


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
        lines.append(f"| {(FORMS | PEERS)[form]} | {vocabulary:,} | {tokens:,} | {spread} | {memory:,.0f} |")
    return lines


if __name__ == "__main__":
    main()
