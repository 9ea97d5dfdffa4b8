"""Views and components that several tabs share, their templates and styles."""
