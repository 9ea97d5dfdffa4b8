"""Tests of memshield.training."""
