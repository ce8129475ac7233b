"""What stands in front of every face over HTTP, and what goes out over it."""
