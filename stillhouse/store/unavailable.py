"""What this machine could not make, remembered so that a plan knows of it; it is tried again all the same."""

import json
from pathlib import Path

from stillhouse import machine


def note(file: Path, reason: str) -> None:
    """Remember why this machine cannot have an artifact."""
    file.write_text(json.dumps({"reason": reason, "hardware": machine.hardware()}), encoding="utf-8")


def reason(file: Path) -> str | None:
    """Why this machine could not have an artifact the last time; `None` where nothing is known of it."""
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return str(noted["reason"]) if noted.get("hardware") == machine.hardware() else None
