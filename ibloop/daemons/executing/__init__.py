"""The parts of the executor: runs, their orders, and the truth about both."""
