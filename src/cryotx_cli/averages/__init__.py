"""What picks average to: crops, classes of views, and how far two halves of them agree."""
