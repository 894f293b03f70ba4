"""Answers that are kept: query results in this process, and a second level that several processes share."""
