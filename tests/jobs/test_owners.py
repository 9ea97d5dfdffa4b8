"""Whose is what: ids, settings, files and tokens of several people on one server."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from memshield.errors import UserError
from memshield.jobs.belongings import Kept
from memshield.jobs.commands import ROOT
from memshield.jobs.environment import environment_of
from memshield.jobs.records import LOCAL
from memshield.jobs.tokens import Tokens
from memshield.sampling.wish import Wish
from tests.jobs.children import DEMO, DONE, RUNS, begun, ended, open_jobs, until, view

ADAS = "hf_" + "adasowntokenofthirtyfourletters"
HOSTS = "hf_" + "hostsowntokenofthirtyfourletter"
PRINTS_ITS_ENVIRONMENT = RUNS.format(
    body="""
from huggingface_hub import get_token
for name in ("HF_TOKEN", "HF_HOME", "MEMSHIELD_CACHE", "OAUTH_CLIENT_SECRET"):
    print(name, os.environ.get(name))
(run.path / "token").write_text(str(get_token()))
status.set("done")
"""
)
MODEL = ROOT / "configs" / "models" / "digits-unet.json"


# Ids


def test_another_owners_job_is_as_good_as_none(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job), jobs=jobs)
    asks: list[Any] = [
        jobs.get, jobs.view, jobs.log, jobs.config, jobs.stop, jobs.resume, jobs.audit,
        jobs.publish, jobs.delete, lambda owner, id: jobs.file(owner, id, "config.yaml"),
    ]  # fmt: skip
    for ask in asks:
        for id in (job.id, "x" * 22, "", "../../etc", "a\0b", 7, None, ["a"], {"a": 1}):
            with pytest.raises(UserError) as refused:
                ask("bob", id)
            assert str(refused.value).startswith(f"job: there is no job {id!r}")
    assert jobs.list("bob") == []
    assert jobs.list(LOCAL) == []
    assert [found.id for found in jobs.list("ada")] == [job.id]
    with pytest.raises(UserError, match="there is no job"):
        jobs.audit("ada", job.id, beside=[jobs.submit("bob", DEMO).id])
    assert jobs.audit("ada", job.id, beside=[jobs.submit("ada", DEMO).id])
    jobs.close()


def test_ids_cannot_be_guessed(root: Path) -> None:
    jobs = open_jobs(root)
    ids = {jobs.submit("ada", DEMO).id for _ in range(5)}
    assert len(ids) == 5
    assert all(len(id) >= 22 for id in ids)
    assert (root / "jobs").stat().st_mode & 0o077 == 0
    jobs.close()


@pytest.mark.parametrize("owner", ["..", "a/b", "_local", ".hidden", "a\n", "x" * 200])
def test_an_owner_is_a_user_name(root: Path, owner: str) -> None:
    jobs = open_jobs(root)
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        jobs.submit(owner, DEMO)
    assert not (root / "jobs").exists()
    jobs.close()


# Settings


def refusal(jobs: Any, owner: str = "ada", **changes: Any) -> str:
    values = {name: value for name, value in {**DEMO, **changes}.items() if value is not None}
    with pytest.raises(UserError) as refused:
        jobs.submit(owner, values)
    return str(refused.value)


def test_bad_settings_are_refused_before_anything_is_stored(root: Path) -> None:
    jobs = open_jobs(root)
    said = refusal(jobs, num_shards=0, learning_rte=1)
    assert "learning_rte: unknown setting" in said
    assert "num_shards: input should be greater than" in refusal(jobs, num_shards=0)
    assert jobs.list("ada") == []
    assert not (root / "jobs").exists()
    jobs.close()


def test_the_server_chooses_the_run_folder(root: Path) -> None:
    jobs = open_jobs(root)
    job = jobs.submit("ada", {**DEMO, "output_dir": "/etc"}, name="My *first* run!")
    assert jobs.folders.run(job).path == root / "jobs" / job.id / "my-first-run"
    assert jobs.config("ada", job.id).output_dir == str(jobs.folders.run(job).path)
    jobs.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset_name": "/etc"},
        {"dataset_name": "tests"},
        {"dataset_name": "../secrets"},
        {"dataset_name": "~/pictures"},
        {"dataset_name": "a/b/c"},
        {"dataset_name": "file:///etc/passwd"},
        {"dataset_name": None, "train_data_dir": "/srv/pictures"},
        {"dataset_name": None, "train_data_dir": "lab/pictures"},
        {"model_config_name_or_path": "/etc/passwd"},
        {"model_config_name_or_path": "configs/models/../demo.yaml"},
        {"model_config_name_or_path": "configs/models"},
        {"model_config_name_or_path": None, "pretrained_model_name_or_path": "memshield/jobs"},
        {"pretrained_vae_model_name_or_path": str(MODEL)},
        {"dataset_name": "x\0y"},
    ],
)
def test_the_servers_files_are_closed_to_visitors(root: Path, changes: dict[str, Any]) -> None:
    jobs = open_jobs(root)
    assert "neither on the Hub nor among what you uploaded" in refusal(jobs, **changes)
    assert jobs.list("ada") == []
    jobs.close()


def test_what_is_open_to_visitors(root: Path) -> None:
    jobs = open_jobs(root)
    pictures = jobs.folders.uploads("ada") / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "a.png").touch()
    for changes in (
        {"dataset_name": "lab/pictures"},
        {"dataset_name": "mnist"},
        {"model_config_name_or_path": str(MODEL)},
        {"model_config_name_or_path": "lab/unet"},
        {"dataset_name": str(pictures)},
    ):
        jobs.submit("ada", {**DEMO, **changes})
    uploaded: dict[str, Any] = {"dataset_name": None, "train_data_dir": str(pictures)}
    job = jobs.submit("ada", {**DEMO, **uploaded})
    assert job.name == "pictures"
    assert "neither on the Hub" in refusal(jobs, "bob", **uploaded)
    jobs.submit(LOCAL, {**DEMO, **uploaded})
    # A link leads out of the uploads, whenever it was put there.
    (pictures / "b.png").symlink_to("/etc/passwd")
    assert "neither on the Hub" in refusal(jobs, **uploaded)
    until(lambda: ended(jobs, job), jobs=jobs)
    assert "neither on the Hub" in str(view(jobs, job).training.reason)
    jobs.close()


def test_trackers_of_the_operators_account_are_closed_to_visitors(root: Path) -> None:
    jobs = open_jobs(root)
    assert "would report to the account of this server" in refusal(jobs, report_to="wandb")
    jobs.submit("ada", {**DEMO, "report_to": "tensorboard"})
    jobs.submit(LOCAL, {**DEMO, "report_to": "wandb"})
    jobs.close()


def test_the_local_users_paths_do_not_depend_on_the_servers_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    jobs = open_jobs(root)
    job = jobs.submit(LOCAL, {**DEMO, "dataset_name": "pictures"})
    assert jobs.config(LOCAL, job.id).dataset_name == str(tmp_path / "here" / "pictures")
    jobs.close()


# Files


def test_deleting_takes_the_files_and_nothing_else(root: Path, tmp_path: Path) -> None:
    jobs = open_jobs(root, DONE)
    job, other = jobs.submit("ada", DEMO), jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job) and ended(jobs, other), jobs=jobs)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (jobs.folders.run(job).path / "link").symlink_to(outside)
    jobs.delete("ada", job.id)
    with pytest.raises(UserError, match="there is no job"):
        jobs.get("ada", job.id)
    jobs.scheduler.step()
    assert not jobs.folders.job(job.id).exists()
    assert (outside / "kept").exists()
    assert jobs.folders.run(other).path.is_dir()
    # The folder itself may have been replaced by a link.
    os.rename(jobs.folders.job(other.id), tmp_path / "moved")
    jobs.folders.job(other.id).symlink_to(outside)
    jobs.delete("ada", other.id)
    jobs.scheduler.step()
    assert (outside / "kept").exists()
    jobs.close()


def test_what_runs_is_not_deleted_and_what_waits_is(root: Path) -> None:
    jobs = open_jobs(root, RUNS.format(body="time.sleep(600)"))
    job, waiting = jobs.submit("ada", DEMO), jobs.submit("ada", DEMO)
    until(lambda: begun(jobs, job), jobs=jobs)
    with pytest.raises(UserError, match="it is running"):
        jobs.delete("ada", job.id)
    assert jobs.folders.run(job).path.is_dir()
    jobs.delete("ada", waiting.id)
    jobs.scheduler.step()
    assert [found.id for found in jobs.list("ada")] == [job.id]
    jobs.close()


def test_a_deletion_that_was_cut_off_is_ended_by_the_next_server(root: Path) -> None:
    jobs = open_jobs(root)
    job = jobs.submit("ada", DEMO)
    jobs.delete("ada", job.id)
    assert jobs.folders.job(job.id).exists()
    jobs.close()
    jobs = open_jobs(root)
    jobs.scheduler.step()
    assert not jobs.folders.job(job.id).exists()
    jobs.close()


def test_files_are_those_of_the_run_only(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit("ada", DEMO)
    until(lambda: ended(jobs, job), jobs=jobs)
    run = jobs.folders.run(job).path
    (run / "samples").mkdir()
    (run / "samples" / "round-1.png").touch()
    (run / "link").symlink_to("/etc/passwd")
    (run / ".lock").touch()
    assert view(jobs, job).files == ("config.yaml", "samples/round-1.png")
    assert jobs.file("ada", job.id, "samples/round-1.png") == run / "samples" / "round-1.png"
    for name in ("../settings.yaml", "link", "/etc/passwd", ".lock", "", "samples", "a\0b"):
        with pytest.raises(UserError, match="has no file"):
            jobs.file("ada", job.id, name)
    jobs.close()


def test_what_is_kept_belongs_to_its_owner_and_can_be_deleted(root: Path) -> None:
    jobs = open_jobs(root)
    elsewhere = root / "elsewhere"
    elsewhere.mkdir(parents=True)
    (elsewhere / "large").write_bytes(b"x" * 1000)
    for owner in ("ada", "bob"):
        for folder in (jobs.folders.uploads(owner), jobs.folders.cache(owner)):
            folder.mkdir(parents=True)
            (folder / "a").write_bytes(b"x" * 7)
    (jobs.folders.cache("ada") / "link").symlink_to(elsewhere)
    assert jobs.belongings.of("ada").uploads == 7
    assert jobs.belongings.of("ada").cache < 1000
    job = jobs.submit("ada", DEMO)
    with pytest.raises(UserError, match="runs or waits"):
        jobs.belongings.delete("ada")
    assert jobs.belongings.of("ada").uploads == 7
    jobs.stop("ada", job.id)
    # Beside drawn pictures lie training pictures.
    drawn = jobs.errands.sample("ada", "ada/digits", "0" * 40, Wish())
    jobs.errands.stop("ada", "sample")
    jobs.belongings.delete("ada")
    assert jobs.errands.view("ada", "sample") is None
    jobs.scheduler.step()
    assert not jobs.folders.job(drawn).exists()
    assert jobs.belongings.of("ada") == Kept(0, 0)
    assert jobs.belongings.of("bob") == Kept(7, 7)
    assert (elsewhere / "large").exists()
    assert [one.id for one in jobs.list("ada")] == [job.id]
    jobs.close()


# Tokens


def host() -> dict[str, str]:
    """Environment of a server whose operator has secrets."""
    secrets = {"HF_TOKEN": HOSTS, "HUGGING_FACE_HUB_TOKEN": HOSTS, "OAUTH_CLIENT_SECRET": "s3cret"}
    return {**os.environ, **secrets}


def test_a_visitors_job_has_the_visitors_token_and_no_secret_of_the_host(root: Path) -> None:
    login = root / "login"
    login.mkdir(parents=True)
    (login / "token").write_text(HOSTS)
    jobs = open_jobs(root, PRINTS_ITS_ENVIRONMENT, environment={**host(), "HF_HOME": str(login)})
    jobs.tokens.keep("ada", ADAS, time.time() + 1000)
    seen = {}
    for owner in ("ada", "bob", LOCAL):
        job = jobs.submit(owner, DEMO)
        until(lambda job=job: ended(jobs, job), jobs=jobs)  # type: ignore[misc]
        run = jobs.folders.run(job)
        assert run.read_status()["state"] == "done", jobs.log(owner, job.id)
        seen[owner] = (run.path / "token").read_text()
        (run.path / "token").unlink()
        said = jobs.log(owner, job.id)
        assert ADAS not in said
        assert HOSTS not in said
        assert ("OAUTH_CLIENT_SECRET None" in said) == (owner != LOCAL)
        assert (str(jobs.folders.cache(owner)) in said) == (owner != LOCAL)
    assert seen == {"ada": ADAS, "bob": "None", LOCAL: HOSTS}
    jobs.close()


def test_a_token_is_in_no_file_and_no_command_line(root: Path) -> None:
    jobs = open_jobs(root, RUNS.format(body="time.sleep(600)"), environment=host())
    jobs.tokens.keep("ada", ADAS, time.time() + 1000)
    job = jobs.submit("ada", {**DEMO, "push_to_hub": True, "hub_model_id": "ada/x"})
    until(lambda: begun(jobs, job), jobs=jobs)
    (task,) = jobs.get("ada", job.id).tasks
    assert psutil.Process(task.pid).environ()["HF_TOKEN"] == ADAS
    titles = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            titles += process.cmdline()
    assert not [title for title in titles if ADAS in title]
    assert ADAS not in view(jobs, job).command + repr(jobs.tokens)
    jobs.close()
    for path in root.rglob("*"):
        assert not path.is_file() or ADAS.encode() not in path.read_bytes(), path


def test_who_has_to_sign_in_again_keeps_nobody_waiting(root: Path) -> None:
    now = time.time()
    jobs = open_jobs(root, DONE, now=lambda: now)
    jobs.tokens.keep("ada", ADAS, now + 10)
    published = {**DEMO, "push_to_hub": True, "hub_model_id": "ada/x"}
    adas = jobs.submit("ada", published)
    private = jobs.submit("ada", DEMO, needs_token=True)
    plain = jobs.submit("ada", DEMO)
    assert view(jobs, adas).training.state == "waiting"
    now += 11
    shown = view(jobs, adas)
    assert shown.training.state == "needs_sign_in"
    assert "Sign in again" in str(shown.training.reason)
    bobs = jobs.submit("bob", DEMO)
    until(lambda: ended(jobs, bobs) and ended(jobs, plain), jobs=jobs)
    for waiting in (adas, private):
        assert view(jobs, waiting).training.state == "needs_sign_in"
        assert not jobs.folders.run(waiting).path.exists()
    # Nor does another server, or the next one, know it.
    jobs.close()
    jobs = open_jobs(root, DONE, now=lambda: now)
    jobs.scheduler.step()
    assert view(jobs, adas).training.state == "needs_sign_in"
    jobs.tokens.keep("ada", ADAS, now + 10)
    until(lambda: ended(jobs, adas) and ended(jobs, private), jobs=jobs)
    assert view(jobs, adas).training.state == "done"
    jobs.close()


def test_the_local_user_needs_no_sign_in(root: Path) -> None:
    jobs = open_jobs(root, DONE)
    job = jobs.submit(LOCAL, {**DEMO, "push_to_hub": True, "hub_model_id": "ada/x"})
    until(lambda: ended(jobs, job), jobs=jobs)
    assert jobs.publish(LOCAL, job.id).current is not None
    jobs.close()


def test_tokens_are_forgotten() -> None:
    now = 0.0
    tokens = Tokens(lambda: now)
    tokens.keep("ada", ADAS, 10)
    assert tokens.of("ada") == ADAS
    assert tokens.hide(f"sent {ADAS} and {HOSTS}") == "sent [token] and [token]"
    assert tokens.of("bob") is None
    now = 10.0
    assert tokens.of("ada") is None
    tokens.keep("ada", ADAS, 20)
    tokens.forget("ada")
    tokens.forget("ada")
    assert tokens.of("ada") is None


def test_environments() -> None:
    base = {
        "PATH": "/bin", "HF_ENDPOINT": "http://hub", "AWS_SECRET_ACCESS_KEY": "s",
        "HF_TOKEN": HOSTS, "WANDB_API_KEY": "s", "HF_HUB_CACHE": "/all", "HF_OIDC_RESOURCE": "r",
    }  # fmt: skip
    cache = Path("/srv/cache/ada")
    found = environment_of("ada", None, "1", "id:1", cache, base)
    assert found == {
        "PATH": "/bin",
        "HF_ENDPOINT": "http://hub",
        "HF_HOME": "/srv/cache/ada/huggingface",
        "MEMSHIELD_CACHE": "/srv/cache/ada/memshield",
        "HF_TOKEN_PATH": os.devnull,
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "CUDA_VISIBLE_DEVICES": "1",
        "MEMSHIELD_TASK": "id:1",
        "PYTHONUNBUFFERED": "1",
    }
    local = environment_of(LOCAL, None, "cpu", "id:1", cache, base)
    assert base.items() <= local.items()
    assert local["CUDA_VISIBLE_DEVICES"] == ""


def test_what_is_kept_is_counted_while_it_changes(root: Path) -> None:
    jobs = open_jobs(root)
    cache = jobs.folders.cache("ada")
    cache.mkdir(parents=True)
    done = threading.Event()

    def fetch() -> None:
        while not done.is_set():
            for number in range(50):
                (cache / f"{number}.incomplete").touch()
            for number in range(50):
                (cache / f"{number}.incomplete").rename(cache / str(number))

    fetching = threading.Thread(target=fetch)
    fetching.start()
    try:
        for _ in range(2000):
            assert jobs.belongings.of("ada") == Kept(0, 0)
    finally:
        done.set()
        fetching.join()
    jobs.close()
