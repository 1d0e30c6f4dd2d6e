"""What a run shows to people: pictures and reports."""
