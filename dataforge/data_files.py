"""Where the samples and templates are: the top-level folders of a checkout, else those inside the package."""

from pathlib import Path


def folder(name: str) -> Path:
    """`samples` or `templates`."""
    package = Path(__file__).parent
    checkout = package.parent / name
    return checkout if (package.parent / "pyproject.toml").is_file() else package / "_data" / name
