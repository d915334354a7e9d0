"""The parts of the guard."""
