"""What a modality must pass, its tiers, and the template of a new one."""

from iotlam.conformance.catalog import TIERS, Check, all_checks
from iotlam.conformance.kit import Session, examine
from iotlam.conformance.results import Report, Result
from iotlam.conformance.target import Target, resolve

__all__ = ["TIERS", "Check", "Report", "Result", "Session", "Target", "all_checks", "examine", "resolve"]
