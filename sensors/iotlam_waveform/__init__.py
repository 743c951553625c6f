"""Waveform sensors: vibration and motor current, two modalities over one causal encoder."""
