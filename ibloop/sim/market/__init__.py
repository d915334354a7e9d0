"""Instruments, their history, and prices as functions of simulated time. Pure."""
