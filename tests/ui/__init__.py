"""Tests of memshield.ui."""
