"""Reads the logical plan that DuckDB 2.0 serializes. Everything that knows its format lives here."""
