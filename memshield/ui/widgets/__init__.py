"""What several tabs show: HTML from data, charts, words, styles."""
