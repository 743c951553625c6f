"""Public data sets and a user's own folder, as one catalogue of recordings."""
