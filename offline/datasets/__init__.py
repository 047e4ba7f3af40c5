"""Dataset definitions, one per file: `headrace dataset build NAME` reads `dataset` from NAME.py."""
