"""Tests of memshield.audit.stats."""
