"""The only modules that touch the world, each one outside thing behind a small Protocol."""
