"""What several test modules share: cases, fakes, small models and places."""
