"""Recipes: what decides a training run, and reading them from TOML."""
