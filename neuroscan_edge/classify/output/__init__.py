"""Where rows go: a file that can be resumed, one that grows, or standard output."""
