"""Floor 3: the TPC-H harness, a user of the engine like any other."""
