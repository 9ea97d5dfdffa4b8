"""Tests of memshield.forecast."""
