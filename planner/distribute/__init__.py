"""Puts exchanges where rows must move, and so cuts the algebra into stages.

Partitioning is a property of a fragment. An operator that finds the property it needs takes its
inputs in place; one that does not closes them into stages and reads those. Each family of operators
has a file; which joins may be cut how is the table in :mod:`starling_py.planner.placement`.
"""
