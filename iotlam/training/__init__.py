"""Optimisation: pretraining, imitation, reinforcement; checkpoints, seeds, progress."""
