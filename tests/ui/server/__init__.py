"""Tests of memshield.ui.server."""
