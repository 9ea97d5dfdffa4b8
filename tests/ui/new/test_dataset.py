"""The lists of a dataset's parts, without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.ui.new.dataset import choose_dataset
from memshield.ui.widgets.fields import Fields
from tests.ui.new.test_form import at


@pytest.fixture
def handlers(tmp_path: Path) -> dict[str, Callable[..., list[Any]]]:
    """Of a page that cannot ask the Hub: it does not need to."""
    server = at(tmp_path, on_space=False)
    with gr.Blocks() as page:
        choose_dataset(server, Fields("training"))
    server.jobs.close()
    return {str(one.name): one.fn for one in page.fns.values() if one.fn is not None}


def test_a_list_that_is_left_as_it_was_resets_no_other(
    handlers: dict[str, Callable[..., list[Any]]],
) -> None:
    """gradio tells of an input whenever a list is left."""
    skipped = handlers["on_config"]("ada/table", "large", "large", None)
    assert skipped == [gr.skip()] * len(skipped)
    assert handlers["on_config"]("", "large", None, None) == skipped
    parts = ["large", "train", "photo", "title"]
    shown = ["ada/table", *parts]
    assert handlers["on_part"]("ada/table", *parts, shown, None) == [gr.skip()] * 2
    assert handlers["on_part"]("", *parts, shown, None) == ["", None]
