"""Edge devices around a base station: how fast they compute, what their radio channels carry, what a round costs."""
