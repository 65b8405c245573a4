"""A list of changes, a run each, read from YAML: what `stillhouse sweep` is given."""

from pathlib import Path

import yaml

from stillhouse.errors import InputError
from stillhouse.recipe.changes import Changes
from stillhouse.recipe.recipe import validated


def load_changes(path: Path) -> tuple[Changes, ...]:
    """Read a list of changes from YAML.

    Raises:
        InputError: If the file is missing, is not YAML, is not a list, or an entry does not fit; the message numbers
            every entry that does not.
    """
    if not path.is_file():
        raise InputError(f"no file with changes at {path}; it is a YAML list, an entry a run, as `- {{layers: 4}}`")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, list) or not content:
        seen = f"a {type(content).__name__}" if content else "nothing"
        raise InputError(f"{path} holds {seen}, not a list of changes; an entry a run, as `- {{layers: 4}}`")
    entries, problems = [], []
    for number, entry in enumerate(content, start=1):
        origin = f"entry {number} of {path}"
        # An entry without a value runs the recipe as it is.
        changes = {} if entry is None else entry
        if not isinstance(changes, dict):
            problems.append(f"{origin} is {changes!r}, not a mapping as `{{layers: 4}}`")
            continue
        if unknown := [str(key) for key in changes if key not in Changes.model_fields]:
            problems.append(f"{origin} has {', '.join(unknown)}; a run can change {', '.join(Changes.model_fields)}")
            continue
        try:
            entries.append(validated(Changes, changes, origin))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return tuple(entries)
