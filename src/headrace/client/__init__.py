"""The clients of model servers: in process or over HTTP, synchronous or for asyncio."""

from typing import TYPE_CHECKING

from headrace.client.feature_client import FeatureClient
from headrace.client.http_settings import HttpSettings
from headrace.extras import lazy_names

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncFeatureClient

__all__ = ["AsyncFeatureClient", "FeatureClient", "HttpSettings"]

__getattr__ = lazy_names(__name__, {"AsyncFeatureClient": "headrace.client.async_client"}, extra="async")
