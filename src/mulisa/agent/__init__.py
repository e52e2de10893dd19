"""One participant that listens, decides and speaks."""
