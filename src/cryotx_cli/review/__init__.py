"""The local page on which picks are looked at and corrected: tiles, journal, edition, and what guards them."""
