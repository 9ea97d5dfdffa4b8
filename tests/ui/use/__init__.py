"""Tests of memshield.ui.use."""
