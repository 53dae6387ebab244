"""Training data of several sources: listing, grouping by patient, held-out list and sampling."""
