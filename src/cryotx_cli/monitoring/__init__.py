"""What programs hear of a run while it works: a JSON line an event, and counts for Prometheus."""
