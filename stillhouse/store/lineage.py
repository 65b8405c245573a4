"""Where a package or run comes from, back to the teacher's weights and the data."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stillhouse.errors import InputError

_RESULTS = "results.json"


def explain(folder: Path) -> str:
    """Tell a package's or run's lineage: teacher, data, code, machine, and every stage with what it read.

    Raises:
        InputError: If the folder holds no `results.json`.
    """
    if not (folder / _RESULTS).is_file():
        raise InputError(f"no {_RESULTS} in {folder}; give a package, or a run's folder under runs/<recipe>/")
    try:
        results = json.loads((folder / _RESULTS).read_text(encoding="utf-8"))
        return "\n".join(_lines(results["lineage"], results.get("package")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / _RESULTS} is not what a run writes ({error!r}); take it from the run again"
        ) from None


def _lines(lineage: dict[str, Any], package: dict[str, Any] | None) -> Iterator[str]:
    yield f"recipe       {lineage['recipe']['name']}, seed {lineage['seed']}"
    for teacher in (lineage["teacher"], *lineage.get("other_teachers", ())):
        yield f"teacher      {teacher['source']} ({teacher['quantization']}), {teacher['parameters']:,} parameters"
        yield f"             weights sha256 or commit {teacher['digest']}, licence {teacher['licence']}"
        if "answered" in teacher:
            yield f"             answered the prompts of {', '.join(teacher['answered'])}"
    for data in lineage["data"]:
        yield f"data         {data['name']}: " + ", ".join(f"{key} {data[key]}" for key in data if key != "name")
    yield f"code         {lineage['code']['version']}, commit {lineage['code']['commit']}"
    environment = lineage["environment"]
    yield f"machine      {environment['processor']}, {environment['cores']} cores, {environment['system']}"
    yield f"computed on  {lineage['compute']['device']}, {lineage['compute']['precision']}, " + (
        f"{lineage['compute']['threads']} threads"
    )
    yield "stages, each with its key, the digest of what came out, and what it read:"
    kinds = {stage["key"]: stage["kind"] for stage in lineage["stages"]}
    for stage in lineage["stages"]:
        read = ", ".join(f"{name}={kinds.get(key, '?')}/{key[:8]}" for name, key in stage["inputs"].items())
        yield f"  {stage['kind']}/{stage['key'][:12]}  sha256 {stage['digest'][:12]}  <- {read or 'the source itself'}"
    if package is not None:
        yield f"package      {package['key'][:12]}, sha256 {package['digest'][:12]}: {', '.join(package['variants'])}"
