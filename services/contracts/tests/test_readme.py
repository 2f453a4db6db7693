"""What the README shows is what the code does."""

from pathlib import Path

from contracts.lifecycle import CONTRACT

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_shows_the_lifecycle() -> None:
    assert f"```mermaid\n{CONTRACT.mermaid()}\n```" in README.read_text()
