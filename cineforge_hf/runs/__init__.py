"""A run is a directory: for every stage its finished shards, each with a marker, and the media it made."""
