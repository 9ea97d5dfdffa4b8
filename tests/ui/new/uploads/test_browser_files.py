"""What gradio took from a browser: only that is read, only that is deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memshield.errors import UserError
from memshield.ui.new.uploads.browser_files import uploaded_files


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where gradio puts uploads."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return tmp_path / "gradio"


def arrived(home: Path, name: str, digit: str = "a") -> Path:
    path = home / (digit * 64) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    return path


def described(*paths: object) -> list[dict[str, Any]]:
    return [{"path": str(path), "meta": {"_type": "gradio.FileData"}} for path in paths]


def test_files_are_gone_after_they_were_read(home: Path) -> None:
    one, other = arrived(home, "a.png"), arrived(home, "b.png", "b")
    kept = arrived(home, "c.png", "b")
    with uploaded_files(described(one, other)) as paths:
        assert paths == [one, other]
        assert one.read_bytes() == b"a picture"
    assert [file for file in home.rglob("*") if file.is_file()] == [kept]
    assert not one.parent.exists()
    with uploaded_files(described(one, other)) as paths:
        assert paths == []


def test_files_are_gone_where_they_were_refused(home: Path) -> None:
    one, gone = arrived(home, "a.png"), home / ("b" * 64) / "b.png"
    with pytest.raises(UserError, match="not a picture"), uploaded_files(described(one)):
        raise UserError("folder", "a.png is not a picture")
    assert not one.exists()
    arrived(home, "a.png")
    with (
        pytest.raises(UserError, match="not all of the files"),
        uploaded_files(described(one, gone)),
    ):
        raise AssertionError("not reached")
    assert not one.exists()


def test_nothing_else_can_be_named(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "data" / ("a" * 64) / "a.png"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"a secret")
    inside = arrived(home, "a.png")
    loose, deep = home / "loose.png", inside.parent / "deep" / "a.png"
    deep.parent.mkdir()
    other_app = home / "another-app" / "a.png"
    other_app.parent.mkdir()
    for file in (loose, deep, other_app):
        file.write_bytes(b"not uploaded")
    link, folder_link = inside.parent / "link.png", home / ("b" * 64)
    link.symlink_to(outside)
    folder_link.symlink_to(outside.parent)
    everything = sorted(tmp_path.rglob("*"))
    for path in (
        outside, loose, deep, other_app, link, folder_link / "a.png", inside.parent, home,
        f"{home}/../data/{'a' * 64}/a.png", f"{inside.parent}/../{'a' * 64}/a.png",
        f"a/{'a' * 64}/a.png", "\0", "x" * 5000, "", f"http://localhost/{'a' * 64}/a.png",
    ):  # fmt: skip
        with uploaded_files(described(path)) as paths:
            assert paths == [], path
    odds: list[Any] = [
        None, "", 1, True, {}, {"path": str(inside)}, [1], [[str(inside)]], [str(inside)],
        [{"path": 1}], [{"path": [str(inside)]}], [{}],
    ]  # fmt: skip
    for odd in odds:
        with uploaded_files(odd) as paths:
            assert paths == [], odd
    assert sorted(tmp_path.rglob("*")) == everything
