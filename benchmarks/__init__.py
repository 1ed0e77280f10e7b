"""How fast it is, measured on this machine. `make bench` prints it."""
