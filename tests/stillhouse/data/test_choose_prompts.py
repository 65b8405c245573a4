import json

from stillhouse.data.choose_prompts import ChoosePromptsSettings, choose_prompts, prompts_of_others, prompts_of_own
from stillhouse.data.document import Document, problem, prompt, read_documents, write_documents
from stillhouse.recipe.data import Data

SETS = [{"kind": "jsonl", "path": f"{name}.jsonl"} for name in ("texts", "code", "law", "code")]


def test_every_prompt_is_one_teachers():
    others = [{"teacher": "org/a", "serves": ["code-2"]}, {"teacher": "org/b", "serves": ["law", "code"]}]
    data = Data(sets=SETS, answers={"others": others})
    own = prompts_of_own(data)
    assert own is not None and own.sets == ("texts",)
    assert [each.sets for each in prompts_of_others(data)] == [("code-2",), ("code", "law")]
    assert prompts_of_own(Data(sets=SETS)) is None and prompts_of_others(Data(sets=SETS)) == ()


def test_only_prompts_of_the_sets_are_left_in_their_order_and_counted(tmp_path):
    source, folder = tmp_path / "documents", tmp_path / "prompts"
    source.mkdir()
    folder.mkdir()
    train = [
        prompt("org/code/2", "b"),
        Document("org/code/3", "text", "c"),
        prompt("code/1", "a"),
        prompt("law/1", "d"),
    ]
    write_documents(source / "train.jsonl", [*train, problem("org/code/4", "e"), prompt("org/code/0", "f")])
    write_documents(source / "validation.jsonl", [])
    write_documents(source / "held_out.jsonl", [prompt("org/code/held-out/1", "g"), prompt("code/held-out/1", "h")])
    settings = ChoosePromptsSettings(sets=("org/code", "law", "none"))
    choose_prompts(settings, {"documents": source}, folder)
    found = {each: [one.id for one in read_documents(folder / f"{each}.jsonl")] for each in ("train", "held_out")}
    assert found == {"train": ["org/code/2", "law/1", "org/code/0"], "held_out": ["org/code/held-out/1"]}
    assert not list(read_documents(folder / "validation.jsonl"))
    facts = json.loads((folder / "facts.json").read_text())
    assert facts == {"prompts": {"org/code": 3, "law": 1, "none": 0}}
