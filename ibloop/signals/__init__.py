"""Where target weights come from. A targets file is the first and simplest source."""
