"""Which tables there are, and what their Parquet footers say of them."""
