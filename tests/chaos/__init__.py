"""Chaos with real processes: the daemons over TCP against the simulator, killed, stopped, lied to.

A seed decides what happens and when; then everything heals, and the ledger is compared with the
broker's truth. `make chaos SEEDS=n FIRST=m` plays other seeds.
"""
