"""Tests of memshield.audit."""
