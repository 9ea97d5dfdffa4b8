"""What the page shows: functions from data to HTML text, without gradio and without torch.

The same data gives the same bytes, so that a caller sends nothing where nothing changed. Nothing
here asks for anything from outside: pictures are part of the text. What comes from users,
datasets, logs or the Hub is escaped.
"""
