"""Which broker a project uses. The choice is made here and nowhere else."""

from __future__ import annotations

from headrace.config import Project
from headrace.errors import BrokerUnavailableError
from headrace.kafka.embedded import running_broker

__all__ = ["broker_address"]


def broker_address(project: Project) -> str:
    """Find the project's broker.

    Args:
        project: The project.

    Returns:
        Kafka bootstrap servers, ``host:port[,host:port]``: those of headrace.toml, or the running embedded broker.

    Raises:
        BrokerUnavailableError: The project uses the embedded broker and none is running.
    """
    if project.broker is not None:
        return project.broker
    info = running_broker(project.broker_state_path)
    if info is None:
        hint = "Run `headrace dev` in another terminal, or set `broker` in headrace.toml."
        msg = f"The embedded broker of {project.root} is not running."
        raise BrokerUnavailableError(msg, hint=hint)
    return info.address
