"""Suites that measure the traffic application, one file each."""
