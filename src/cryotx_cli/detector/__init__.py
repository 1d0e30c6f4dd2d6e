"""The networks and how they pick; nothing here knows about training."""
