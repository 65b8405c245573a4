"""Whether runs are to be shown on a Prefect server."""

import os

from prefect.settings import get_current_settings


def server_is_configured() -> bool:
    """Whether the environment or Prefect's profile names a server; without one, no server is started."""
    return bool(os.environ.get("PREFECT_API_URL") or get_current_settings().api.url)
