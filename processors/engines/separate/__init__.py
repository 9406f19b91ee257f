"""Separation engines: the voices of a film's sound, apart from its music and effects."""
