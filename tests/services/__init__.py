"""Services of vendors, true to their protocols, on this machine: real sockets, real speech."""
