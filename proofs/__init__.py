"""Proofs that one definition of a feature holds online and offline, on random cases."""
