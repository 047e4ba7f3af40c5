"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from headrace.config import Permission
from headrace.errors import PermissionDeniedError

__all__ = ["ALL", "Caller", "Grant", "Permission"]

ALL = "*"
"""Stands for every service or view."""


@dataclass(frozen=True)
class Grant:
    """Something that a caller may do. A service or view that is not named is denied.

    Attributes:
        may: The permissions.
        services: The feature services that they are for; `*` is all.
        views: The views; `*` is all. A view is granted in all its versions.
    """

    may: frozenset[Permission]
    services: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: The name for the access log: that of the token, or what the issuer calls the caller.
        grants: What they may do; everything else is denied.
        remembered: Answers of `headrace.serving.permissions`, which are asked for again with every request.
    """

    name: str
    grants: tuple[Grant, ...] = ()
    remembered: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def anyone(cls) -> Caller:
        """The caller of a server that asks nobody to sign in: they may do everything."""
        return cls("anyone", (Grant(frozenset(Permission), frozenset({ALL}), frozenset({ALL})),))

    def has(self, permission: Permission, *, service: str | None = None, view: str | None = None) -> bool:
        """Whether a grant names the permission with the service or the view; without both, for anything at all.

        Args:
            permission: The permission.
            service: A feature service.
            view: A view.
        """
        return any(
            permission in grant.may
            and (service is None or service in grant.services or ALL in grant.services)
            and (view is None or view in grant.views or ALL in grant.views)
            for grant in self.grants
        )

    def require(self, permission: Permission, *, views: Iterable[str] = (), services: Iterable[str] = ()) -> None:
        """Refuse what the caller may not do.

        Features are checked by `headrace.serving.permissions.require_features`, which knows what services contain.

        Args:
            permission: What they want to do.
            views: With which views: all must be granted.
            services: With which services: all must be granted.

        Raises:
            PermissionDeniedError: They may not.
        """
        for view in views:
            if not self.has(permission, view=view):
                raise self.denied(permission, f"the view {view!r}")
        for service in services:
            if not self.has(permission, service=service):
                raise self.denied(permission, f"the feature service {service!r}")
        if not self.has(permission):
            raise self.denied(permission)

    def denied(self, permission: Permission, what: str | None = None) -> PermissionDeniedError:
        """The error for what the caller may not do. It is the same whether a name exists or not.

        Args:
            permission: What they wanted to do.
            what: With what.
        """
        msg = f"{self.name!r} lacks the permission {permission}{f' for {what}' if what else ''}."
        return PermissionDeniedError(msg, hint=f"It may {self._shown(permission)}.")

    def _shown(self, permission: Permission) -> str:
        """What the caller may do with the permission, or else at all."""
        mine = [grant for grant in self.grants if permission in grant.may]
        if not mine:
            may = sorted({str(one) for grant in self.grants for one in grant.may})
            return ", ".join(may) if may else "do nothing"
        services = sorted({name for grant in mine for name in grant.services})
        views = sorted({name for grant in mine for name in grant.views})
        return (
            f"{permission} of the services {', '.join(services) or 'none'} and the views {', '.join(views) or 'none'}"
        )
