"""Reads the logical plan that DuckDB 2.0 serializes. All that knows its format lives here."""
