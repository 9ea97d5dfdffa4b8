"""Tests of memshield.ui.form."""
