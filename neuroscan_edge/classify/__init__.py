"""From files to rows of results: decode, preprocess, run the model, write."""
