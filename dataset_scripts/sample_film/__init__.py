"""The parts of the program that makes the bundled sample film: its script, voices, faces, scenery, truth and encoding."""
