"""Who calls, how much they may call, and what they may see of tasks and do with them."""
