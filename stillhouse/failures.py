"""What to do about a failure that is nobody's mistake: the machine had no room for the work."""

import errno

from stillhouse.child import ChildKilled

_FULL = (errno.ENOSPC, errno.EDQUOT)


def advice(error: BaseException) -> str | None:
    """What happened and what to do, in a line, where disk or memory ran out; `None` of every other error."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    match error:
        case OSError() if is_disk_full(error):
            where = error.filename or "while a stage wrote"
            return f"The disk is full ({where}). Free some space (`stillhouse gc` helps) and retry: {KEPT}."
        case ChildKilled():
            # The rest is what the process said before it died, which may be long.
            killed = said.partition("; it last said")[0]
            return f"{killed}. Free some memory, or {_LESS}, and start again: {KEPT}."
        case MemoryError() if "lower" in said:
            # A stage that knows what to lower, and by how much, says so.
            return f"Out of memory: {said.rstrip('.')}. What is finished is kept."
        case MemoryError():
            about = f": {said.rstrip('.')}" if str(error) else ""
            return f"Out of memory{about}. {_LESS.capitalize()}, and start again: {KEPT}."
    # torch's own class; this module does not import torch.
    if type(error).__name__ == "OutOfMemoryError":
        return f"{said.rstrip('.')}. {_LESS.capitalize()}, and start again: {KEPT}."
    # Some libraries that write files have errors of their own, with the system's words in them.
    if "No space left on device" in str(error):
        return f"The disk is full ({said}). Free some space (`stillhouse gc` helps) and retry: {KEPT}."
    return None


def is_disk_full(error: OSError) -> bool:
    """Whether there is no room for a file, or none that this user may have."""
    return error.errno in _FULL


KEPT = "what is finished is kept"
_LESS = "lower distillation.batch_rows or take a smaller student"
