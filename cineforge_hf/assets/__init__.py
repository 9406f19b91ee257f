"""The sample film and its truth."""
