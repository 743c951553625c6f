"""Federated fine-tuning: rounds, aggregation of unequal adapters, radio planning, journal."""
