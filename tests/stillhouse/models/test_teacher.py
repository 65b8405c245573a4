import copy
import json
import shutil

import numpy as np
import pytest
import torch

from stillhouse.errors import InputError
from stillhouse.models.load import load_model, load_tokenizer
from stillhouse.models.sources import resolve_model
from stillhouse.models.teacher import LoadTeacherSettings, load_student, load_teacher
from stillhouse.models.tokenizer import tokenizer_digest


def _loaded(stage, path, folder):
    folder.mkdir()
    stage(LoadTeacherSettings(source=resolve_model(str(path), base=path.parent)), {}, folder)
    return json.loads((folder / "facts.json").read_text())


def test_a_teacher_from_gguf_gives_the_logits_of_the_model_that_was_written(write_gguf, llama, tmp_path):
    facts = _loaded(load_teacher, write_gguf(add_license="mit"), tmp_path / "teacher")
    ids = torch.arange(30)[None]
    logits = load_model(tmp_path / "teacher", device="cpu", dtype="fp32")(ids).logits
    torch.testing.assert_close(logits, llama(ids).logits, rtol=1e-5, atol=1e-6)
    assert (facts["kind"], facts["quantization"], facts["licence"]) == ("gguf", "none", "mit")


def test_quantized_weights_of_gguf_become_the_fp32_values_that_they_stand_for(write_gguf, llama, tmp_path):
    from gguf import GGMLQuantizationType, quants

    facts = _loaded(load_teacher, write_gguf(kind="Q4_1"), tmp_path / "teacher")
    model = load_model(tmp_path / "teacher", device="cpu", dtype="fp32")
    original = llama.model.layers[0].mlp.down_proj.weight.detach().numpy()
    packed = quants.quantize(original, GGMLQuantizationType.Q4_1)
    expected = quants.dequantize(packed, GGMLQuantizationType.Q4_1)
    assert np.array_equal(model.model.layers[0].mlp.down_proj.weight.detach().numpy(), expected)
    assert facts["quantization"] == "de-quantized from Q4_1: not the original weights"
    assert facts["dtype"] == "float32"


def test_a_directory_and_the_gguf_made_from_it_end_in_one_layout(write_gguf, llama_folder, tmp_path):
    _loaded(load_teacher, write_gguf(), tmp_path / "from-gguf")
    _loaded(load_teacher, llama_folder, tmp_path / "from-directory")
    for name in ("model.safetensors", "generation_config.json"):
        assert (tmp_path / "from-gguf" / name).read_bytes() == (tmp_path / "from-directory" / name).read_bytes()
    tokenizers = [load_tokenizer(tmp_path / name) for name in ("from-gguf", "from-directory")]
    assert tokenizer_digest(tokenizers[0]) == tokenizer_digest(tokenizers[1])


def test_a_directory_keeps_the_precision_it_is_stored_in(llama, llama_folder, tmp_path):
    copy.deepcopy(llama).to(torch.bfloat16).save_pretrained(llama_folder)
    facts = _loaded(load_teacher, llama_folder, tmp_path / "teacher")
    assert facts["dtype"] == "bfloat16"
    assert json.loads((tmp_path / "teacher" / "config.json").read_text())["dtype"] == "bfloat16"


def test_facts_tell_what_the_model_is_and_no_path_of_this_machine(llama_folder, llama, llama_tokenizer, tmp_path):
    (llama_folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [tiny]\n---\n# Tiny\n")
    facts = _loaded(load_teacher, llama_folder, tmp_path / "teacher")
    assert facts == {
        "source": "llama",
        "kind": "directory",
        "digest": resolve_model(str(llama_folder), base=tmp_path).digest,
        "parameters": llama.num_parameters(),
        "layers": 2,
        "dtype": "float32",
        "quantization": "none",
        "licence": "apache-2.0",
        "tokenizer_digest": tokenizer_digest(llama_tokenizer),
        "chat_template": False,
    }
    written = b"".join(path.read_bytes() for path in (tmp_path / "teacher").glob("*.json"))
    assert str(tmp_path).encode() not in written


def test_an_existing_student_is_written_as_a_teacher_is(llama_folder, tmp_path):
    as_teacher = _loaded(load_teacher, llama_folder, tmp_path / "teacher")
    as_student = _loaded(load_student, llama_folder, tmp_path / "student")
    assert as_teacher == as_student
    for path in (tmp_path / "teacher").iterdir():
        assert path.read_bytes() == (tmp_path / "student" / path.name).read_bytes()


def test_a_gguf_that_lacks_a_tensor_is_refused(write_gguf, tmp_path):
    path = write_gguf(without=["blk.1.ffn_up.weight"])
    with pytest.raises(InputError, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
        _loaded(load_teacher, path, tmp_path / "teacher")


def test_a_tokenizer_that_is_larger_than_the_embedding_is_refused(llama_folder, llama_tokenizer, tmp_path):
    larger = load_tokenizer(llama_folder)
    larger.add_tokens(["<one>", "<more>"])
    larger.save_pretrained(llama_folder)
    with pytest.raises(InputError, match="has 265 tokens, but the model has embeddings for 263"):
        _loaded(load_teacher, llama_folder, tmp_path / "teacher")


@pytest.mark.parametrize("kind", ["gguf", "directory", "removed"])
def test_a_model_that_changed_after_the_run_was_planned_is_refused(kind, write_gguf, tiny_model, tmp_path):
    """Its weights would be stored under the digest of others, and found there ever after."""
    path = write_gguf() if kind == "gguf" else tmp_path / "model"
    if kind != "gguf":
        shutil.copytree(tiny_model, path)
    settings = LoadTeacherSettings(source=resolve_model(str(path), base=tmp_path))
    changed = path if kind == "gguf" else path / "config.json"
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes() + b"\n")
    if kind == "removed":
        shutil.rmtree(path)
    with pytest.raises(InputError, match="was changed or removed after this run was planned: .*; start the run again"):
        load_teacher(settings, {}, tmp_path)
