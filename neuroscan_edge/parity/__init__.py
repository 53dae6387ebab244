"""Parity: whether an engine decides like the Keras baseline that was validated."""
