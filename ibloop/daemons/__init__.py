"""One thin file per process: build the adapters, run the loop of :mod:`ibloop.daemons.loop`."""
