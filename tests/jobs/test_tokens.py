"""Whose token is where, and whose secrets are not: in memory, and a child's environment."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil
import pytest

from memshield.jobs.environment import environment_of
from memshield.jobs.records import LOCAL
from memshield.jobs.tokens import Tokens
from memshield.redaction import HIDDEN, redact
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


def host() -> dict[str, str]:
    """Environment of a server whose operator has secrets."""
    secrets = {"HF_TOKEN": HOSTS, "HUGGING_FACE_HUB_TOKEN": HOSTS, "OAUTH_CLIENT_SECRET": "s3cret"}
    return {**os.environ, **secrets}


@pytest.mark.process
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


@pytest.mark.process
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


@pytest.mark.process
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


@pytest.mark.process
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
    tokens.forget("another")
    assert tokens.of("ada") == ADAS
    tokens.forget(ADAS)
    tokens.forget(ADAS)
    assert tokens.of("ada") is None


def test_two_browsers_of_one_person_do_not_take_turns() -> None:
    now = 0.0
    tokens = Tokens(lambda: now)
    # Neither tells how long it lasts.
    for now in range(300):
        tokens.keep("ada", ADAS if now % 2 == 0 else HOSTS, now + 3600)
        assert tokens.of("ada") == ADAS
    assert tokens.hide(f"{ADAS} {HOSTS}") == "[token] [token]"
    tokens.forget(ADAS)
    assert tokens.of("ada") == HOSTS
    # A later sign-in takes its place, and once that is over or signed out, the earlier one.
    tokens.keep("ada", ADAS, 3 * 3600)
    assert tokens.of("ada") == ADAS
    tokens.forget(ADAS)
    assert tokens.of("ada") == HOSTS
    now = 299 + 3600
    assert tokens.of("ada") is None
    assert repr(tokens) == "Tokens of 0 owners"


def test_nothing_of_a_token_is_left_when_its_time_is_over() -> None:
    """Whoever's it was, and whether anybody asks for it."""
    now, odd = 0.0, "adas-token-of-an-unknown-shape"
    tokens = Tokens(lambda: now)
    tokens.keep("ada", odd, 10)
    assert odd not in redact(f"it is {odd}")
    now = 10.0
    tokens.drop_expired()
    assert repr(tokens) == "Tokens of 0 owners"
    assert redact(odd) == odd
    tokens.keep("ada", odd, 20)
    tokens.keep("ada", "the-next-sign-in-of-hers", 30)
    now = 20.0
    tokens.drop_expired()
    assert redact(odd) == odd
    assert redact("the-next-sign-in-of-hers") == HIDDEN
    tokens.forget("the-next-sign-in-of-hers")


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


@pytest.mark.process
def test_a_server_that_nobody_asks_drops_what_ran_out(root: Path) -> None:
    clock = [time.time()]
    jobs = open_jobs(root, now=lambda: clock[0])
    token = "a-token-that-looks-like-none"
    jobs.tokens.keep("ada", token, clock[0] + 10)
    jobs.scheduler.step()
    assert redact(token) == HIDDEN
    clock[0] += 11
    jobs.scheduler.step()
    assert redact(token) == token, "it is still remembered"
    jobs.close()
