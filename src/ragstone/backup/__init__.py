"""Copies of collections in one file, made while they are used, and put back."""
