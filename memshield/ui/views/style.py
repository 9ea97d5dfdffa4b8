"""The stylesheet of all views."""

from __future__ import annotations

from pathlib import Path

CSS = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
"""For the page that shows the views; everything in it stands below the class `ms`."""
