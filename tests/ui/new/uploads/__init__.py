"""Tests of memshield.ui.new.uploads."""
