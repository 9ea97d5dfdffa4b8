"""Tests of memshield.ui.runs."""
