"""Nouns of the house: audio, rooms, events and the protocols between its halves. No I/O."""
