"""The HTTP server: one route is one call of the store; nothing is computed here.

``application`` puts the routes together, ``edge`` stands before them all (request id, headers, deadline, log line,
metrics), ``access`` asks for keys, ``rates`` bounds them, ``serving`` takes a request in, ``body`` parses strictly,
``shapes`` generates types from the declarations, ``answers`` writes JSON, ``failure`` says which status an error has.
``deadlines`` ends what takes too long, ``intake`` takes events together, ``threads`` keep long work off the event loop.
``process`` binds, runs and stops; ``connection`` is what it adds to uvicorn's handling of one connection. What the
server needs is installed by ``pip install featurestore[serve]`` and imported here alone.
"""
