"""Ways into a room: one package per topology; siblings never import each other."""
