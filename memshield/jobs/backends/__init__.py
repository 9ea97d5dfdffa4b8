"""Where tasks run: `seam` is what the scheduler knows of it, every other module is one place."""
