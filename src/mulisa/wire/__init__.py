"""One concern of the wire each: STUN, DTLS, SRTP, RTP, RTCP, SDP, SCTP; nothing of rooms."""
