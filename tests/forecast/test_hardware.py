"""What this machine has, by a driver's words and a container's limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memshield.forecast import hardware
from memshield.forecast.flavours import FLAVOURS, flavour_of, hardware_of, machine_with
from memshield.forecast.hardware import Gpu, Machine, this_machine


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi, first on the PATH, that a test writes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def says(driver: Path, *lines: str, code: int = 0) -> None:
    driver.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "assert sys.argv[1:] == ['--query-gpu=name,memory.total,compute_cap', "
        "'--format=csv,noheader,nounits']\n"
        + "".join(f"print({line!r})\n" for line in lines)
        + f"sys.exit({code})\n"
    )
    driver.chmod(0o755)


def test_gpus(driver: Path) -> None:
    says(driver, "NVIDIA A10G, 23028, 8.6", "Tesla T4, 15360, 7.5")
    found = this_machine()
    assert found.gpus == (
        Gpu("NVIDIA A10G", 23028 * 2**20, True),
        Gpu("Tesla T4", 15360 * 2**20, False),
    )
    assert found.in_words() == "2 x NVIDIA A10G, 24 GB"


@pytest.mark.parametrize(
    "lines, code",
    [(["No devices were found"], 6), (["[N/A], [N/A], [N/A]"], 0), (["a, b"], 0), ([], 0)],
)
def test_no_gpu(driver: Path, lines: list[str], code: int) -> None:
    says(driver, *lines, code=code)
    found = this_machine()
    assert found.gpus == ()
    assert found.cores >= 1 and found.memory_bytes > 2**28
    assert found.in_words().startswith("no GPU; ")


def test_a_driver_that_hangs_or_cannot_be_started(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    driver.chmod(0o755)
    monkeypatch.setattr(hardware, "_SECONDS", 0.2)
    assert this_machine().gpus == ()
    driver.write_bytes(b"\x7fELF no program")
    assert this_machine().gpus == ()
    driver.unlink()
    assert this_machine().gpus == ()


def test_limits_of_a_container(
    driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    assert this_machine() == Machine((), 1, 2**30)
    free = this_machine().cores
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert this_machine().cores >= free and this_machine().memory_bytes != 2**30
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert this_machine().cores == 1


def test_a_spaces_hardware_is_told_by_its_parts() -> None:
    def with_gpus(name: str, count: int = 1, cores: int = 4) -> Machine:
        return Machine((Gpu(name, 16 * 10**9, True),) * count, cores, 10**10)

    assert flavour_of(Machine((), 2, 10**10)) == "cpu-basic"
    assert flavour_of(Machine((), 8, 10**10)) == "cpu-upgrade"
    assert flavour_of(Machine((), 64, 10**10)) is None
    assert flavour_of(with_gpus("Tesla T4")) == "t4-small"
    assert flavour_of(with_gpus("Tesla T4", cores=8)) == "t4-medium"
    assert flavour_of(with_gpus("NVIDIA A10G", cores=96), said="12") == "a10g-large"
    assert flavour_of(with_gpus("NVIDIA A10G", 4, cores=48)) == "a10g-largex4"
    assert flavour_of(with_gpus("NVIDIA A100-SXM4-80GB", cores=12)) == "a100-large"
    assert flavour_of(with_gpus("NVIDIA GeForce RTX 3060")) is None
    for name, one in FLAVOURS.items():
        there = machine_with(one)
        made = hardware_of(there)
        assert made is not None
        assert (made.half_tflops, round(made.tflops, 2)) == (
            one.half_tflops, round(one.tflops, 2)
        ), name  # fmt: skip
