"""Names of parameters: joined, matched by patterns, renamed."""
