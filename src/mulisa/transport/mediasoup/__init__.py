"""Rooms of an application on mediasoup, which is a library: the signalling is the application's."""
