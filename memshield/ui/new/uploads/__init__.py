"""Pictures that a visitor uploads. No gradio."""
