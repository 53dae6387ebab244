"""Builders: from a graph of one precision to what one runtime loads fastest."""
