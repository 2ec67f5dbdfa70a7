"""Files that statements write: where they go, and how they become visible at once."""
