"""Particle coordinates: what they are, how two sets agree, and every format they are read from and written to."""
