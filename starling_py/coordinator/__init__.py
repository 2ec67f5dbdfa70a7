"""What decides which task runs when, and what happens to a query that fails."""
