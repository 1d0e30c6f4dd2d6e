"""What an import of coordinates would stumble over."""
