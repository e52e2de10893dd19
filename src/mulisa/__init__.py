"""Mulisa is an AI participant for voice rooms with several people."""
