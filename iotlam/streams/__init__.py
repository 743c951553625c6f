"""Live data in, decisions out: transports, waveforms as binary messages, SenML, and what makes each count once."""
