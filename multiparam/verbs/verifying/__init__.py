"""What `verify` does: both models run, their outputs compared, and where and why they part."""
