"""Buckets: folders on disk that clients list, read, write, and mount into jobs."""
