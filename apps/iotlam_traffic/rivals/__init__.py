"""Learnt rivals: agents of Stable-Baselines3 that see and are paid as sumo-rl's are."""
