"""Which broker a project uses."""

from __future__ import annotations

from headrace.config import Project
from headrace.errors import BrokerUnavailableError
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.embedded import running_broker

__all__ = ["project_connection"]


def project_connection(project: Project) -> KafkaConnection:
    """How to connect to the project's broker: the one that headrace.toml names, or the embedded one that runs.

    The embedded broker is on the loopback and takes neither encryption nor sign-in.

    Raises:
        BrokerUnavailableError: The project uses the embedded broker and none is running.
        ConfigError: A setting of [kafka] is missing, or has no effect.
    """
    if project.broker is not None:
        return KafkaConnection(bootstrap=project.broker, **dict(project.kafka))
    running = running_broker(project.broker_state_path)
    if running is None:
        hint = "Run `headrace dev` in another terminal, or set `broker` in headrace.toml."
        msg = f"The embedded broker of {project.root} is not running."
        raise BrokerUnavailableError(msg, hint=hint)
    return KafkaConnection(bootstrap=running.address, client_id=project.kafka.client_id)
