"""Tests of memshield.ui.new."""
