"""Recorded play: episodes, the chunk files that hold them, and what is drawn from them."""
