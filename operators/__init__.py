"""Floor 1a: the vocabulary of a plan (frozen types) and what one task does with it."""
