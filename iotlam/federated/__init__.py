"""Federated fine-tuning: rounds, aggregation of unequal adapters, radio planning, journal."""

import os

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
"""Flower asks nobody before it tells its makers what it runs on. Read when it is imported, and by its commands."""

os.environ.update(QUIET | os.environ)
