"""Training data: point-in-time-correct features for a spine, exported reproducibly, and proof of what was served."""

from headrace.extras import needing

with needing("offline"):
    from headrace.training.client import TrainingClient
    from headrace.training.dataset import Dataset, load_dataset
    from headrace.training.export import Built, export_dataset
    from headrace.training.historical_features import FeatureJoins, HistoricalFeatures
    from headrace.training.lookup_proof import LookupReport, Mismatch
    from headrace.training.verify import VerifyReport, read_manifest, verify_dataset

__all__ = [
    "Built",
    "Dataset",
    "FeatureJoins",
    "HistoricalFeatures",
    "LookupReport",
    "Mismatch",
    "TrainingClient",
    "VerifyReport",
    "export_dataset",
    "load_dataset",
    "read_manifest",
    "verify_dataset",
]
