"""The lab: train and evaluate Keras baselines, as ``python -m training``; never at the edge."""
