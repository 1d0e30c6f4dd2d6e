"""Text and STAR blocks, read with care and written whole or not at all."""
