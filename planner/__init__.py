"""Floor 1b: from SQL text to a frozen plan of stages. Knows nothing of where tasks run."""
