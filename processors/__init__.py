"""The stages: one file, one stage, one class."""
