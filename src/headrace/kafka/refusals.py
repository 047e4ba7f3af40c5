"""What a broker refuses, and what to grant or set so that it does not.

All of Kafka's clients carry the protocol's error codes; so this knows none of them.
"""

from __future__ import annotations

from headrace.errors import BrokerRefusedError

__all__ = ["TOPIC_REFUSED", "is_refusal", "refused"]

TOPIC_REFUSED = 29

_PAGE = "docs/production.md lists what each needs."
_TOPIC = (
    "Grant this client DESCRIBE and READ on the plan's topics, WRITE and DESCRIBE on their dead-letter topics (`TOPIC.dlq`), and CREATE "
    f"where headrace is to make them; a producer needs WRITE. {_PAGE}"
)
_CREATE = (
    "Make the topics yourself (the plan's, and `TOPIC.dlq` with one partition), as the broker's rules want them: headrace uses those that "
    "exist."
)
_HINTS: dict[int, str] = {
    23: "Another program uses the group with another way to share partitions out: set `group` in headrace.toml to a name of its own.",
    24: "Set `group` in headrace.toml to another name.",
    26: (
        "Set `session_timeout` in headrace.toml between the broker's group.min.session.timeout.ms (6 s unless it was changed) and "
        "group.max.session.timeout.ms."
    ),
    TOPIC_REFUSED: _TOPIC,
    30: f"Grant this client READ and DESCRIBE on the group (`group` in headrace.toml). {_PAGE}",
    31: f"Grant this client CREATE on the cluster, or make the topics yourself; producers need IDEMPOTENT_WRITE on brokers before 2.8. {_PAGE}",
    33: "The listener wants another way to sign in than this client offers.",
    37: _CREATE,
    38: _CREATE,
    40: _CREATE,
    44: _CREATE,
    58: "User or password is wrong for this listener.",
}
"""By the protocol's error code: trying again is refused as well."""


def is_refusal(code: object) -> bool:
    """Whether a broker that answers with this code will answer the same again, until somebody grants or sets something."""
    return code in _HINTS


def refused(bootstrap: str, why: object, code: object = None) -> BrokerRefusedError:
    """The error of what a broker refuses.

    Args:
        bootstrap: The broker that was asked.
        why: What it was asked for and what it said, as text.
        code: The protocol's error code, where there is one.
    """
    hint = _HINTS.get(code) if isinstance(code, int) else None
    msg = f"The broker at {bootstrap} refused: {str(why).rstrip('.')}."
    return BrokerRefusedError(msg, hint=hint or "Its configuration or its log says more.")
