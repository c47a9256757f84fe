"""A slice's tokens through the model, as Beam's RunInference calls it."""
