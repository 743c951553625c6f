"""The few signal parts that several encoders share."""
