"""Which features a model takes."""

from __future__ import annotations

from feast import FeatureService
from views import carrier_departures, origin_carrier_departures, origin_departures, origin_weather

delay_model = FeatureService(
    name="delay_model",
    features=[origin_departures, carrier_departures, origin_carrier_departures, origin_weather],
    description="Will this flight arrive late?",
)
