"""Searching as one types: when the Hub is asked, and which answer is shown."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from memshield.errors import UserError
from memshield.hub.catalog.results import ModelFound, Page
from memshield.ui.new.search_box import PAUSE, LatestSearch, model_line, search_box
from memshield.ui.widgets.fields import Fields
from tests.ui.new.test_descriptions import model_found
from tests.ui.new.test_form import at


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: a browser of other tests may have a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Asked:
    """A search that answers when it is let to.

    Attributes:
        begun: when, by words.
        open: answers to come, by words; all others come at once.
    """

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.open: dict[str, threading.Event] = {}
        self.at_once = self.most_at_once = 0

    def __call__(self, text: str, **_: object) -> Page[ModelFound]:
        self.begun[text] = time.monotonic()
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        if text in self.open:
            assert self.open[text].wait(10)
        self.at_once -= 1
        if text == "refused":
            raise UserError("search", "the Hub is away")
        id = text if "/" in text else f"lab/{text}"
        return Page(() if "nothing" in text else (model_found(id=id),), 0, False)


class Box:
    """A box on a page without a browser, of one visitor."""

    def __init__(self, folder: Path) -> None:
        self.asked, self.latest = Asked(), LatestSearch()
        self._server = at(folder, on_space=False)
        with gr.Blocks() as page:
            fields = Fields("training")
            search_box(self._server, fields, "model", "Model", self.asked, model_line, requests=1)
        self._handlers: dict[str, Callable[..., Any]] = {
            str(one.name): one.fn for one in page.fns.values() if one.fn is not None
        }

    def press(self, words: object) -> Any:
        return self._handlers["on_search"](words, self.latest, None)

    def pick(self, one: object) -> Any:
        return self._handlers["on_pick"](one, self.latest)

    async def type(self, words: object, order: object = None) -> Any:
        return await self._handlers["on_typing"](words, self.latest, order, None)

    def close(self) -> None:
        self._server.jobs.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.close()


def ids(shown: Any) -> list[str]:
    return [id for _, id in shown.choices]


def skipped(shown: Any) -> bool:
    return bool(shown == gr.skip())


def test_a_text_is_searched_for_when_it_stands_still(box: Box) -> None:
    async def typing() -> list[Any]:
        answers = []
        for words in ("t", "ti", "tin", "tiny"):
            answers.append(asyncio.create_task(box.type(words)))
            await asyncio.sleep(PAUSE / 10)
        return list(await asyncio.gather(*answers))

    *short, before, last = run(typing())
    assert list(box.asked.begun) == ["tiny"]
    assert not any(one.visible for one in short) and skipped(before)
    assert ids(last) == ["lab/tiny"] and last.visible


def test_one_at_a_time_and_not_more_often_than_twice_a_second(box: Box) -> None:
    box.asked.open["one"] = threading.Event()

    async def typing() -> list[Any]:
        first = asyncio.create_task(box.type("one"))
        while "one" not in box.asked.begun:
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(box.type(words)) for words in ("two", "three")]
        await asyncio.sleep(1.2 * PAUSE)
        assert list(box.asked.begun) == ["one"]
        box.asked.open["one"].set()
        return list(await asyncio.gather(first, *others))

    first, second, third = run(typing())
    # The answer to what was typed first came late, and what was typed second is not asked for.
    assert skipped(first) and skipped(second) and ids(third) == ["lab/three"]
    assert list(box.asked.begun) == ["one", "three"]
    assert box.asked.most_at_once == 1

    async def slowly() -> None:
        async with box.latest.pause(box.latest.take(), 0.0) as first:
            assert first
        begun = time.monotonic()
        async with box.latest.pause(box.latest.take(), 2 * PAUSE) as second:
            assert second
        assert time.monotonic() - begun > 1.5 * PAUSE

    run(slowly())


def test_a_late_answer_never_takes_the_place_of_a_newer_one(box: Box) -> None:
    box.asked.open["old"] = threading.Event()

    async def meanwhile() -> tuple[Any, Any]:
        typed = asyncio.create_task(box.type("old"))
        while "old" not in box.asked.begun:
            await asyncio.sleep(0.01)
        pressed = await asyncio.to_thread(box.press, "new")
        box.asked.open["old"].set()
        return await typed, pressed

    typed, pressed = run(meanwhile())
    assert skipped(typed) and ids(pressed[0]) == ["lab/new"]

    async def the_other_way_round() -> tuple[Any, Any]:
        box.asked.open["old"].clear()
        del box.asked.begun["old"]
        pressed = asyncio.create_task(asyncio.to_thread(box.press, "old"))
        while "old" not in box.asked.begun:
            await asyncio.sleep(0.01)
        typed = await box.type("newer")
        box.asked.open["old"].set()
        return typed, await pressed

    typed, pressed = run(the_other_way_round())
    assert ids(typed) == ["lab/newer"] and all(map(skipped, pressed))


def test_what_is_wrong_is_told_by_the_button_alone(box: Box) -> None:
    assert skipped(run(box.type("refused")))
    shown, problem = box.press("refused")
    assert not shown.visible and "the Hub is away" in problem
    nothing = run(box.type("nothing"))
    assert nothing.label == "No models found" and nothing.visible
    # A whole id need not be listed below itself, and may be one that no search finds.
    for words in ("lab/whole", "lab/nothing"):
        assert not run(box.type(words)).visible
    box.asked.begun.clear()
    assert ids(run(box.type("tiny"))) == ["lab/tiny"]
    for odd in (None, 1, ["x", 2], {"a": [1]}, True, "  a ", "\0"):
        assert not run(box.type(odd)).visible
    assert list(box.asked.begun) == ["tiny"]


def test_what_came_from_the_list_is_not_searched_for(box: Box) -> None:
    assert box.pick("lab/tiny") == "lab/tiny"
    assert skipped(run(box.type("lab/tiny")))
    assert ids(run(box.type("lab/tin"))) == ["lab/tin"]
    assert not run(box.type("lab/tiny")).visible
    assert list(box.asked.begun) == ["lab/tin", "lab/tiny"]


def test_the_size_is_told_where_the_hub_has_counted() -> None:
    assert model_line(model_found()) == "lab/tiny-sd · Stable Diffusion · 860 M weights · mit"
    assert "weights" not in model_line(model_found(parameters=None))


def test_a_keystroke_that_was_overtaken_changes_nothing(box: Box) -> None:
    async def typing() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(box.type("tiny", 4)), group.create_task(box.type("ti", 2))]
        return [task.result() for task in tasks]

    last, overtaken = run(typing())
    assert overtaken == gr.skip()
    assert last.choices == [(model_line(model_found(id="lab/tiny")), "lab/tiny")]
    odd_orders: list[object] = [None, "x", True, float("nan"), []]
    for odd in odd_orders:
        assert not box.latest.is_overtaken(odd)
