"""Fakes that keep the protocols of drivers, libraries and runtimes."""
