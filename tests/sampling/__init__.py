"""Tests of memshield.sampling."""
