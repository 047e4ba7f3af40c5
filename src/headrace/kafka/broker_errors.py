"""The errors of a broker that does not answer, and of one that refuses until somebody grants or sets something.

All of Kafka's clients carry the protocol's error codes, so this module imports none of them.
"""

from __future__ import annotations

from headrace.errors import BrokerRefusedError, BrokerUnavailableError

__all__ = ["TOPIC_REFUSED", "is_refusal", "refused", "unavailable"]

TOPIC_REFUSED = 29

_PAGE = "docs/production.md lists what each needs."
_TOPIC = (
    "Grant this client DESCRIBE and READ on the plan's topics, WRITE and DESCRIBE on their dead-letter topics "
    f"(`TOPIC.dlq`), and CREATE where headrace is to create them; a producer needs WRITE. {_PAGE}"
)
_CREATE = (
    "Create the topics yourself (the plan's, and `TOPIC.dlq` with one partition), as the broker's rules want them: "
    "headrace uses those that exist."
)
_HINTS: dict[int, str] = {
    23: "Another program uses this group in a way of its own: set `group` in headrace.toml to a new name.",
    24: "Set `group` in headrace.toml to another name.",
    26: (
        "Set `session_timeout` in headrace.toml between the broker's group.min.session.timeout.ms (6 s unless changed) "
        "and group.max.session.timeout.ms."
    ),
    TOPIC_REFUSED: _TOPIC,
    30: f"Grant this client READ and DESCRIBE on the group (`group` in headrace.toml). {_PAGE}",
    31: (
        "Grant this client CREATE on the cluster, or create the topics yourself; producers need IDEMPOTENT_WRITE on "
        f"brokers before 2.8. {_PAGE}"
    ),
    33: "Set `sasl_mechanism` in [kafka] of headrace.toml to one that the listener takes.",
    37: _CREATE,
    38: _CREATE,
    40: _CREATE,
    44: _CREATE,
    58: (
        "Check `username` and `sasl_mechanism` in [kafka] of headrace.toml, and the password "
        "($HEADRACE_KAFKA_PASSWORD or `password_file`)."
    ),
}
"""By the protocol's error code: the broker will refuse a second attempt as well."""


def is_refusal(code: object) -> bool:
    """Whether a broker answers with this code every time, until somebody grants or sets something."""
    return code in _HINTS


def refused(bootstrap: object, why: object, code: object = None, hint: str | None = None) -> BrokerRefusedError:
    """The error of what a broker refuses.

    Args:
        bootstrap: The broker that was asked.
        why: What it was asked for and what it said, as text.
        code: The protocol's error code, where there is one.
        hint: What to do; None is the hint for the code.
    """
    hint = hint or (_HINTS.get(code) if isinstance(code, int) else None)
    msg = f"The broker at {bootstrap} refused: {str(why).rstrip('.')}."
    return BrokerRefusedError(msg, hint=hint or "Its configuration or its log says more.")


def unavailable(bootstrap: object, why: object) -> BrokerUnavailableError:
    """The error of a broker that does not answer.

    Args:
        bootstrap: The address that was tried.
        why: What went wrong.
    """
    hint = "Start the broker (`headrace dev` runs the embedded one), or set `broker` in headrace.toml to one that runs."
    return BrokerUnavailableError(f"No Kafka broker answers at {bootstrap}: {why}.", hint=hint)
