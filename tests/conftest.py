"""Models made for tests: random, tiny, and complete enough that every room can open them; and one whole run."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from stillhouse.machine import LOCK_FOLDER

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Tests look at what is measured, not at how fast it is: side by side they need not wait for one another.
    os.environ[LOCK_FOLDER] = tempfile.mkdtemp(prefix=f"stillhouse-{worker}-")

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "tiny.yaml"

SENTENCES = [
    "The still drips slowly into a copper pot.",
    "A small model learns what a large one knows.",
    "Water, malt and yeast: three things and some patience.",
    "The capital of France is Paris, and it rains there too.",
]
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the files that need the whole run one comes first and the others last: while it is made, nobody waits.

    After all that is left out is gone; `make test` keeps xdist from sorting files by their number of tests.
    """
    users = dict.fromkeys(item.path for item in items if "runs" in getattr(item, "fixturenames", ()))
    first = next(iter(users), None)
    items.sort(key=lambda item: (item.path != first, item.path in users))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 2 layers with tied embeddings, its byte-level BPE tokenizer and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained,
        pad_token="<|pad|>",
        bos_token="<|start|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture(scope="session")
def tiny_onnx(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model` as `onnx-fp32`."""
    from export.onnx.export import ExportOnnxSettings, export_onnx

    folder = tmp_path_factory.mktemp("tiny-onnx")
    export_onnx(ExportOnnxSettings(), {"student": tiny_model}, folder)
    # As the store does.
    shutil.rmtree(folder / "work")
    return folder


@pytest.fixture(scope="session")
def roomy_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, said to read longer texts; its positions are rotary, so the weights do not change."""
    folder = tmp_path_factory.mktemp("roomy") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def stillhouse() -> Callable[..., SimpleNamespace]:
    """The command line, in this process: what a new one would only import again takes seconds a call."""
    from stillhouse.cli import command

    def run(*arguments: str) -> SimpleNamespace:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = command(list(arguments))
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe, killed with signal 9 once in the middle of its training."""
    folder = tmp_path_factory.mktemp("runs")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _run_with_a_kill(folder)
        return folder
    # Processes that test side by side make it once, and each takes a copy with the links in it.
    made = tmp_path_factory.getbasetemp().parent / "tiny-runs"
    finished = Path(f"{made}.finished")
    with FileLock(f"{made}.lock"):
        if not finished.exists():
            shutil.rmtree(made, ignore_errors=True)
            _run_with_a_kill(made)
            finished.touch()
    subprocess.run(["cp", "-a", f"{made}/.", str(folder)], check=True)
    return folder


def _run_with_a_kill(folder: Path) -> None:
    command = [sys.executable, "-m", "stillhouse.cli", "run", str(RECIPE), "--runs", str(folder)]
    killed = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(folder.glob("store/distill/*.partial/*/step-*")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "goes on from step" in done.stderr
    assert "load_teacher: found in the store" in done.stderr


@pytest.fixture(scope="session")
def run(runs: Path) -> Path:
    return max((runs / "tiny").iterdir(), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())
