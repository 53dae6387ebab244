"""Draws the example scans: synthetic slices from averaged anatomy, with lesions drawn by code.

``python -m examples.phantoms [--output DIR]`` writes them. Research use only, not for diagnosis.
"""
