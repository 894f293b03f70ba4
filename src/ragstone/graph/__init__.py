"""The graph of documents that name each other: names in titles and texts, and the walk over them. Knows no store."""
