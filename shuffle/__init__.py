"""Floor 0: object stores and the shuffle that goes through them. Knows nothing of plans or SQL."""
