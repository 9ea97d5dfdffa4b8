"""The page, on a Space or at home: `python app.py`."""

from memshield.ui.app import main

if __name__ == "__main__":
    main()
