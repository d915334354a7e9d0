"""Orders, executions, accounts and money of one simulated login. Pure."""
