"""Training a baseline from a recipe: data, network, stages, checkpoints."""
