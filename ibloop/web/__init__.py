"""LiveTrade: the page that shows the loop, its JSON API and ``/metrics``. It only reads.

server     the process: lock, socket, heartbeat, end
rails      who may ask, and what every answer carries
app        routes: pages, API, metrics, static files
source     the one thread and the one read-only handle that everything is read with
pages      from the overview to HTML (templates/, static/)
formats    numbers, times and words as people read them
trail      the account's worth over the day, thinned, and as a line to draw
documents  the JSON documents
metrics    the Prometheus text
"""
