"""The embedded SFU: LiveKit's protocol for one machine; knows no agent and no page."""
