"""``python -m training``: the lab's commands."""

from training.cli import app

if __name__ == "__main__":
    app()
