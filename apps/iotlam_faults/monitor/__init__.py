"""Live machines: waveforms in, features and alarms out, none lost and none doubled."""
