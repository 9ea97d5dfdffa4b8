"""Tests of memshield.audit.search."""
