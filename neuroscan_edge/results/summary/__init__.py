"""What a file of results says as a whole: counts, rates, confidence, demographics, screening."""
