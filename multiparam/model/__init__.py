"""A native model as the verbs see it: a neutral tree of layers with their parameters."""
