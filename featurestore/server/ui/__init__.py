"""Pages for a person, under ``/ui``: what is declared, a lookup with its answer explained, models, health.

Made here as plain HTML: no script, nothing from elsewhere, everything escaped. ``routes`` answers, ``drawing`` draws
the ``templates``, ``catalogue`` says what is declared, ``form`` reads a lookup, ``chart`` places events on a picture.
"""

from featurestore.server.ui.routes import add

__all__ = ["add"]
