"""Fixtures for all tests: quiet libraries, a cache of their own, signal handlers put back."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# What collecting imports lives as long as the process: searched for garbage neither while it comes
# nor, again and again, in tests.
gc.disable()


# Seconds that a test takes, roughly, by its markers; one without them takes a fraction of one.
_SECONDS = {"browser": 40.0, "process": 3.0}
_OTHERS = 0.15


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first: at the end, no core waits for the other's last file."""
    seconds: dict[Path, float] = {}
    for item in items:
        found = (_SECONDS[name] for name in _SECONDS if item.get_closest_marker(name))
        seconds[item.path] = seconds.get(item.path, 0.0) + next(found, _OTHERS)
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish() -> None:
    """Only what tests make is collected."""
    gc.freeze()
    gc.enable()


# Before any library is imported. Tests run side by side and start processes: one thread each, or
# they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests never reach for the network or the user's own files.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ["HF_HUB_OFFLINE"] = "1"
_HOME = tempfile.TemporaryDirectory(prefix="memshield-tests-")
os.environ["HF_HOME"] = _HOME.name
os.environ.pop("HF_TOKEN", None)


_unmarked: list[str] = []


def _refuse_processes(event: str, values: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _unmarked and sys.executable in map(str, values[1][:1]):
        raise AssertionError(f"{_unmarked[0]} starts a process: mark it `process`")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Only tests marked `process` or `browser` start Python processes, so tiers stay true."""
    marked = item.get_closest_marker("process") or item.get_closest_marker("browser")
    _unmarked[:] = [] if marked else [item.nodeid]
    try:
        return (yield)
    finally:
        _unmarked.clear()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encodings and downloads of a test stay in its temporary folder."""
    monkeypatch.setenv("MEMSHIELD_CACHE", str(tmp_path_factory.mktemp("cache")))


@contextmanager
def _handlers_given_back() -> Iterator[None]:
    """A training in the test's process takes SIGTERM and SIGINT.

    A process that is forked later has its handlers too, and one that waits for a lock may then
    outlive the SIGTERM that was to end it.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """What a fixture of any scope trains leaves the tests no signal handlers.

    Not `pytest_fixture_setup`: of a session's fixtures it is not called in this file.
    """
    with _handlers_given_back():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Nor does a test leave any."""
    with _handlers_given_back():
        return (yield)


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stable Diffusion pipeline (epsilon)."""
    from tests.tiny import sd_pipeline

    return sd_pipeline(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stable Diffusion XL pipeline (epsilon)."""
    from tests.tiny import sdxl_pipeline

    return sdxl_pipeline(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def tiny_sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stable Diffusion 3 pipeline."""
    from tests.tiny_flow import sd3_pipeline

    return sd3_pipeline(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="session")
def tiny_flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FLUX.1 pipeline."""
    from tests.tiny_flow import flux_pipeline

    return flux_pipeline(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="session")
def tiny_z_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Z-Image pipeline."""
    from tests.tiny_flow import z_image_pipeline

    return z_image_pipeline(tmp_path_factory.mktemp("z_image"))


@pytest.fixture(scope="session")
def tiny_qwen_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen-Image pipeline."""
    from tests.tiny_flow import qwen_image_pipeline

    return qwen_image_pipeline(tmp_path_factory.mktemp("qwen_image"))


@pytest.fixture(scope="session")
def tiny_flux2_klein(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small FLUX.2 klein pipeline."""
    from tests.tiny_flow import flux2_klein_pipeline

    return flux2_klein_pipeline(tmp_path_factory.mktemp("flux2_klein"))


@pytest.fixture(scope="session")
def tiny_krea2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Krea 2 pipeline."""
    from tests.tiny_flow import krea2_pipeline

    return krea2_pipeline(tmp_path_factory.mktemp("krea2"))


@pytest.fixture(scope="session")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 captioned pictures, 16 px."""
    from tests.tiny import image_folder

    return image_folder(tmp_path_factory.mktemp("captioned"))


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """accelerate keeps one state a process; a test may want another precision than the last."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A browser without a window open; what a test leaves open is closed, or it goes on asking."""
    yield chromium
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium without a window, where the machine has it."""
    path = which("chromium") or which("chromium-browser") or which("google-chrome")
    if path is None:
        pytest.skip("browser: there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        words = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        found = started.chromium.launch(executable_path=path, args=words)
        yield found
        found.close()
