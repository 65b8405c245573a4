"""Sets a server up for the tests: what Stillhouse needs of it, and the toy's deployment."""

from datetime import timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema
from toy import toy

from flows.operate import START_SECONDS
from flows.set_up_server import POOL, set_up


def everything(folder: str) -> None:
    """Set up and deploy; runs work in a folder."""
    set_up(start=timedelta(seconds=START_SECONDS))
    step: dict[str, Any] = {"prefect.deployments.steps.set_working_directory": {"directory": folder}}
    with get_client(sync_client=True) as client:
        client.create_deployment(
            flow_id=client.create_flow_from_name(toy.name),
            name="toy",
            entrypoint="toy.toy",
            work_pool_name=POOL,
            pull_steps=[step],
            parameter_openapi_schema=parameter_schema(toy).model_dump_for_openapi(),
        )
