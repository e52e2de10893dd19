"""A bot client of a Selective Forwarding Unit that speaks LiveKit's protocol."""
