"""Tests of memshield.config."""
