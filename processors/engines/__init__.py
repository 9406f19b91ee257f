"""Swappable models and programs behind the stages, one folder per task."""
