"""A provider and an online store for Feast that say which client of headrace to use.

Feast registers stream views and executes no windows. Its own calls for such a view give nothing, or an error from deep
inside. These plug-ins, named in feature_store.yaml, raise an error that names the client to use:

    provider: headrace.declare.stores.HeadraceProvider
    online_store:
      type: headrace.declare.stores.HeadraceOnlineStore

Training data of ordinary feature views still comes from Feast's offline store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NoReturn

from feast import KafkaSource, RepoConfig, StreamFeatureView
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.passthrough_provider import PassthroughProvider
from feast.repo_config import FeastConfigBaseModel

from headrace.declare.sources import MODEL_TAG
from headrace.errors import FeastStoreError

__all__ = ["HeadraceOnlineStore", "HeadraceOnlineStoreConfig", "HeadraceProvider"]

_ONLINE = "Ask headrace: headrace.FeatureClient().get_online_features(features, entity_rows)."
_OFFLINE = "Ask headrace: headrace.TrainingClient().get_historical_features(spine, features)."
_FRESH = "`headrace stream` keeps online features fresh: there is nothing to materialize or to write."


class HeadraceOnlineStoreConfig(FeastConfigBaseModel):
    """What feature_store.yaml says about the online store.

    Attributes:
        type: The store's class.
    """

    type: Literal["headrace.declare.stores.HeadraceOnlineStore"] = "headrace.declare.stores.HeadraceOnlineStore"


class HeadraceOnlineStore(OnlineStore):
    """An online store without data: online features are in headrace's own store."""

    def get_online_features(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, and name the client."""
        _refuse("serve online features", _ONLINE)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, and name the client."""
        _refuse("serve online features", _ONLINE)

    def online_read(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, and name the client."""
        _refuse("read online features", _ONLINE)

    def online_write_batch(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: only workers write online features."""
        _refuse("write online features", _FRESH)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; `feast apply` calls it."""

    def teardown(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; `feast teardown` calls it."""


class HeadraceProvider(PassthroughProvider):
    """Feast's provider, which refuses training data and materialization of views that headrace computes."""

    def get_historical_features(
        self, config: RepoConfig, feature_views: Any, *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """Feast's own join, unless a stream view is asked for."""
        mine = _stream_views(feature_views)
        if mine:
            _refuse(f"join historical features of {', '.join(mine)}", _OFFLINE)
        return super().get_historical_features(config, feature_views, *args, **kwargs)

    def materialize_single_feature_view(self, config: RepoConfig, feature_view: Any, *args: Any, **kwargs: Any) -> None:
        """Feast's own materialization, unless it is a stream view."""
        mine = _stream_views([feature_view])
        if mine:
            _refuse(f"materialize {mine[0]}", _FRESH)
        super().materialize_single_feature_view(config, feature_view, *args, **kwargs)


def _stream_views(views: Iterable[Any]) -> list[str]:
    return [
        view.name
        for view in views
        if isinstance(view, StreamFeatureView)
        and isinstance(view.stream_source, KafkaSource)
        and MODEL_TAG in view.stream_source.tags
    ]


def _refuse(what: str, hint: str) -> NoReturn:
    msg = f"Feast does not {what} here: it registers the views, and headrace computes and serves their features."
    raise FeastStoreError(msg, hint=hint)
