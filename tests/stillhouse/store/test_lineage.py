"""What `explain` tells of the teachers."""

import json
from pathlib import Path

from stillhouse.store.lineage import explain

RESULTS = Path(__file__).parents[2] / "evaluation" / "report" / "results.json"


def test_every_teacher_is_told_and_whose_prompts_it_answered(tmp_path: Path):
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    lineage = content["lineage"]
    lineage["teacher"] |= {"source": "org/own"}
    lineage["other_teachers"] = [
        lineage["teacher"] | {"source": "org/mixed"},
        lineage["teacher"] | {"source": "org/code", "answered": ["code", "law"]},
    ]
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    lines = explain(tmp_path).splitlines()
    teachers = [place for place, line in enumerate(lines) if line.startswith("teacher")]
    assert [lines[place].split()[1] for place in teachers] == ["org/own", "org/mixed", "org/code"]
    assert [line.strip() for line in lines if "answered" in line] == ["answered the prompts of code, law"]
    assert "answered" in lines[teachers[2] + 2]
