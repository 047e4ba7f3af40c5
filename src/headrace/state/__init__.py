"""Small facts that must survive: written whole, or not at all."""
