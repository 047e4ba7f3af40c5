"""The errors that headrace raises on purpose, in one tree.

    HeadraceError
    ├── RetryableError                   may work on another try; nothing was lost
    │   ├── BrokerUnavailableError       no Kafka broker answers
    │   ├── StoreUnavailableError        the online store is away
    │   │   └── StoreMissingError        no worker has made the online store yet
    │   ├── StoreNotReadyError           the online store is empty, or is being filled
    │   ├── AuthUnavailableError         tokens, or the keys that sign them, cannot be read just now
    │   ├── LogUnavailableError          the log cannot be written just now (disk full, not writable)
    │   └── ServerUnavailableError       the server is away, overloaded, or does not answer in time
    ├── ConfigError                      headrace.toml, an environment variable or a path is wrong
    │   └── MissingExtraError            a package comes with an extra that is not installed (also an ImportError)
    ├── DefinitionError                  a Feast definition that cannot work (raised by apply)
    ├── OnDemandError                    the function of an on-demand view fails, or returns what it does not declare
    ├── FeastStoreError                  Feast was asked for features that headrace serves
    ├── PlanError                        the compiled plan is missing, unreadable or of another version
    │   └── PlanMismatchError            the plan and the online store do not belong together
    ├── EventError                       an event (or a model of events) that cannot be used
    │   └── EventChangesError            an event that changes its meaning when the stream validates it again
    ├── TransformError                   a udf or expression that fails on most events
    ├── IngestError                      history that cannot be imported
    ├── TopicError                       a topic is missing, or is not the one the store was built from
    │   └── BrokerRefusedError           the broker refuses something, by its permissions or settings
    ├── WorkerError                      a worker ended with an unexpected error
    ├── StoreError                       the online store cannot be used
    │   ├── StoreDamagedError            a store or record cannot be read back
    │   ├── StoreFormatError             the store was written by a version of headrace with another format
    │   ├── StoreLockedError             another worker has locked the store
    │   ├── StaleWriteError              a write by a worker that no longer owns the partition: refused
    │   └── StoreBehindError             the store has lost writes that it had acknowledged
    ├── LookupRequestError               a lookup that names something unknown or leaves out a key
    │   ├── VersionNotServedError        a lookup of a version of a view that the online store does not serve
    │   └── LookupTimeError              a lookup at a time the store can no longer answer: refused, not guessed
    ├── ServerError                      what answers at the URL is no headrace server, or is of another version
    ├── LogError                         the log cannot be read or does not have what it should
    ├── SpineError                       a spine that cannot be joined
    ├── BatchSourceError                 the source of a batch view lacks what the view declares, or cannot be read
    │   └── BatchSourceAwayError         it is not there, or does not answer
    ├── RowsError                        rows of a batch or push view that contradict the view
    ├── DatasetError                     a dataset definition, manifest or rebuild that is not valid
    ├── NotAuthenticatedError            the server does not know who asks: no token, or one that is not valid
    ├── PermissionDeniedError            the caller may not do that
    └── NotConfirmedError                a command that destroys something was not confirmed: nothing was changed

Messages say what is wrong, where, and what to do about it. A HeadraceWarning stops nothing.
"""

from __future__ import annotations

__all__ = [
    "AuthUnavailableError",
    "BatchSourceAwayError",
    "BatchSourceError",
    "BrokerRefusedError",
    "BrokerUnavailableError",
    "ConfigError",
    "DatasetError",
    "DefinitionError",
    "EventChangesError",
    "EventError",
    "FeastStoreError",
    "HeadraceError",
    "HeadraceWarning",
    "IngestError",
    "LogError",
    "LogUnavailableError",
    "LookupRequestError",
    "LookupTimeError",
    "MissingExtraError",
    "NotAuthenticatedError",
    "NotConfirmedError",
    "OnDemandError",
    "PermissionDeniedError",
    "PlanError",
    "PlanMismatchError",
    "RetryableError",
    "RowsError",
    "ServerError",
    "ServerUnavailableError",
    "SpineError",
    "StaleWriteError",
    "StoreBehindError",
    "StoreDamagedError",
    "StoreError",
    "StoreFormatError",
    "StoreLockedError",
    "StoreMissingError",
    "StoreNotReadyError",
    "StoreUnavailableError",
    "TopicError",
    "TransformError",
    "VersionNotServedError",
    "WorkerError",
]


class HeadraceError(Exception):
    """Base of the errors that headrace raises on purpose.

    Args:
        what: What is wrong, and where.
        hint: What to do about it, if there is something to do.
    """

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        self.what = what
        self.hint = hint
        super().__init__(what if hint is None else f"{what}\n  → {hint}")


class RetryableError(HeadraceError):
    """Another try may work: nothing was lost, nothing was changed."""


class BrokerUnavailableError(RetryableError):
    """No Kafka broker answers at the address."""


class StoreUnavailableError(RetryableError):
    """The online store is away."""


class StoreMissingError(StoreUnavailableError):
    """No worker has made the online store yet."""


class StoreNotReadyError(RetryableError):
    """The online store is empty, or is being filled: it has no answers yet."""


class AuthUnavailableError(RetryableError):
    """Tokens, or the keys that sign them, cannot be read just now."""


class LogUnavailableError(RetryableError):
    """The log cannot be written just now."""


class ServerUnavailableError(RetryableError):
    """The server is away, overloaded, or does not answer in time."""


class ConfigError(HeadraceError):
    """The project's settings, an environment variable or a path is wrong."""


class MissingExtraError(ConfigError, ImportError):
    """A package is needed that comes with an extra of headrace.

    Args:
        package: The package that cannot be imported.
        extra: The extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        what = f"This needs the package {package}, which comes with an extra of headrace"
        super().__init__(what, hint=f"pip install 'headrace[{extra}]'")


class DefinitionError(HeadraceError):
    """A Feast definition that cannot work."""


class FeastStoreError(HeadraceError):
    """Feast was asked for features that headrace serves."""


class PlanError(HeadraceError):
    """The compiled plan is missing, unreadable or of another version."""


class PlanMismatchError(PlanError):
    """The plan and the online store do not belong together."""


class EventError(HeadraceError):
    """An event, or a model of events, that cannot be used."""


class EventChangesError(EventError):
    """An event that changes its meaning when the stream validates it again."""


class TransformError(HeadraceError):
    """A udf or expression of a view that fails on most events, where its columns are null."""


class OnDemandError(HeadraceError):
    """The function of an on-demand view fails on a row, or returns something else than the view declares."""


class IngestError(HeadraceError):
    """History that cannot be imported."""


class TopicError(HeadraceError):
    """A topic is missing, or is not the one the store was built from."""


class BrokerRefusedError(TopicError):
    """The broker refuses something, by its permissions or settings."""


class WorkerError(HeadraceError):
    """A worker ended with an unexpected error."""


class StoreError(HeadraceError):
    """The online store cannot be used."""


class StoreDamagedError(StoreError):
    """A store or record cannot be read back."""


class StoreFormatError(StoreError):
    """The store was written by a version of headrace with another format; it is refilled from the log."""


class StoreLockedError(StoreError):
    """Another worker has locked the store."""


class StoreBehindError(StoreError):
    """The store has lost writes that it had acknowledged; a worker that starts applies them again from the log."""


class StaleWriteError(StoreError):
    """A write by a worker that no longer owns the partition, refused."""


class LookupRequestError(HeadraceError):
    """A lookup that names something unknown, or leaves out a key."""


class LookupTimeError(LookupRequestError):
    """A lookup at a time the store can no longer answer: refused, not guessed."""


class ServerError(HeadraceError):
    """What answers at the URL is no headrace server, or is of another version."""


class VersionNotServedError(LookupRequestError):
    """A lookup of a version of a view that the online store does not serve."""


class LogError(HeadraceError):
    """The log cannot be read, or does not have what it should."""


class SpineError(HeadraceError):
    """A spine that cannot be joined."""


class BatchSourceError(HeadraceError):
    """The source of a batch view cannot be read, or lacks what the view declares."""


class BatchSourceAwayError(BatchSourceError):
    """The source of a batch view is not there, or does not answer."""


class RowsError(HeadraceError):
    """Rows of a batch or push view that contradict the view."""


class DatasetError(HeadraceError):
    """A dataset definition, manifest or rebuild that is not valid."""


class NotAuthenticatedError(HeadraceError):
    """The server does not know who asks: there is no token, or one that is not valid."""


class PermissionDeniedError(HeadraceError):
    """The caller may not do that."""


class NotConfirmedError(HeadraceError):
    """A command that destroys something was not confirmed; nothing was changed."""


class HeadraceWarning(UserWarning):
    """A warning: headrace goes on, and the message says what to do."""
