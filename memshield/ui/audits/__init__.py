"""The tab of audits: of any model, wherever it was trained."""
