"""Rotating machines with known faults: vibration, motor current and temperature, on one clock."""
