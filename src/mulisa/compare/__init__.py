"""Mesh and SFU measured side by side, with real browsers and the real Mulisa."""
