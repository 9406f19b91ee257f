"""Voice activity engines: where in a film's sound somebody speaks."""
