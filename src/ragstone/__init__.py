"""ragstone: index folders of documents, search by meaning and keyword, answer with checked citations."""

from ragstone.version import __version__

__all__ = ["__version__"]
