"""Hand-written stand-ins for the ports, for tests of the daemons."""
