"""Evaluation of trained models on labelled data, and the model card made of it."""
