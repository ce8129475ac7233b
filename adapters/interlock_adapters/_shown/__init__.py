"""What may be shown: of a configuration without its secrets, and of tasks."""
