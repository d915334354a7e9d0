"""The client matrix: six unmodified TWS API clients against the simulator, over TCP.

`matrix` lists them, `drivers/` holds the script that each one's own interpreter runs, `process`
talks to it, and `client` is what a test sees: the same verbs with the same values for all.
"""
