"""The parts of the stream runner."""
