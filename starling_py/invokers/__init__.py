"""Where tasks run: threads of this process, or worker processes."""
