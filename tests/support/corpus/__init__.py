"""Hostile files, and the watched process that they are given to."""
