"""Tests of memshield.ui.setup."""
