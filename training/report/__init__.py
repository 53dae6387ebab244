"""What reports share: folders, figures as PNG, records as typed JSON."""
