"""What a bundle holds: graphs, calibration, labels, decision policy and built engines."""
