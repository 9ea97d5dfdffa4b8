"""Tests of memshield.hub.publish."""
