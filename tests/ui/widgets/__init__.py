"""Tests of memshield.ui.widgets."""
