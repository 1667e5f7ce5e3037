"""What happens in service: each vector that was served, and what came of the predictions.

``served`` says what a served row is and how it is written down, ``spool`` keeps one process's rows in a file that a
kill does not damage, ``recorder`` takes rows off the path of the requests, ``retention`` seals files and throws old
ones away, ``served_log`` reads them, ``outcomes`` keeps what really happened.
"""
