"""Trainings on Hugging Face Jobs: what runs in the container, and what follows it from here."""
