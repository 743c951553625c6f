"""Measuring suites: how they are found, run, and written down."""

from iotlam.bench.host import Host, describe_host
from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, SuiteResult, result_json, run_suite, write_result

__all__ = [
    "Host",
    "Metric",
    "SuiteResult",
    "describe_host",
    "median_ci95",
    "result_json",
    "run_suite",
    "write_result",
]
