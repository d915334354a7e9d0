"""The TWS socket protocol in its text form: frames, requests, replies. Pure."""
