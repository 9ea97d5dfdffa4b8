"""Imports that the garbage collector stays away from."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from memshield.imports import many_imports


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported once."""
    (tmp_path / "large_library.py").write_text("import gc\ncollects = gc.isenabled()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "large_library"


def test_nothing_is_collected_while_modules_are_imported(module: str) -> None:
    before = gc.get_freeze_count()
    with many_imports():
        assert not __import__(module).collects
    del sys.modules[module]
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_an_import_that_fails_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(ModuleNotFoundError), many_imports():
        __import__("no_such_library")
    assert gc.isenabled()


def test_what_was_imported_before_keeps_no_garbage() -> None:
    before = gc.get_freeze_count()
    with many_imports():
        __import__("gc")
    assert gc.get_freeze_count() <= before  # what nobody needs any more leaves
