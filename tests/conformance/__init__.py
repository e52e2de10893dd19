"""What LiveKit's clients find at an SFU: the same assertions at ours and at LiveKit's own."""
