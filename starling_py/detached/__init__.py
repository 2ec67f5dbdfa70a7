"""Queries that run by themselves: the coordinator is a function, and its state is in the bucket."""
