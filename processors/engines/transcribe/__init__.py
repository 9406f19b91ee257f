"""Transcription engines: where a film's dialogue and its times come from."""
