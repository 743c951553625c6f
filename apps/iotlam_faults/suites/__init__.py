"""Measuring suites of machine faults."""
