"""Tests of memshield.runs."""
