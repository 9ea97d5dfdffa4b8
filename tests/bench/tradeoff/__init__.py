"""Memorization against quality over a training: plain, and with each part of the method."""
