"""The gateway between clients and the simulated world: sessions, queries, subscriptions."""
