"""What becomes of each argument of the layers' constructors, by its name."""

COMPARED = ("eps", "approximate", "negative_slope", "alpha", "dim", "shape")
STRUCTURE = ("in_features", "out_features", "bias", "num_embeddings", "embedding_dim", "normalized_shape")
IRRELEVANT = {
    "p": "it does nothing in eval mode",
    "function": "a function of somebody's own says nothing of itself",
}
