"""P2P mesh: one RTCPeerConnection per other participant."""
