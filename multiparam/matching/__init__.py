"""Which tensors of a file are which of a model."""
