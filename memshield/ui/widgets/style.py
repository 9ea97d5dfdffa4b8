"""The stylesheet of all views, and the script that ties problems to their fields."""

from __future__ import annotations

from pathlib import Path

CSS = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
"""For the page that shows the views; everything in it stands below the class `ms`."""

SCRIPT = Path(__file__).with_name("problems.js").read_text(encoding="utf-8")
"""For the same page; see there."""
