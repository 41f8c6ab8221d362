"""Transactions over several keys: dependency graphs, anomalies and consistency models, in Elle's way."""
