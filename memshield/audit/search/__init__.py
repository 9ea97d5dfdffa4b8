"""The search for nearest training pictures, and what it compares in."""
