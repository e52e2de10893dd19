"""A voice as an RTP stream, for topologies that handle packets themselves: both ways, with Opus."""
