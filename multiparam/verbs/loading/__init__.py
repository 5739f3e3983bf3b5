"""What a load does: the plan, whether all fits, and what is said of it."""
