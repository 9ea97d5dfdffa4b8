"""The server's folders: one for each job, and one for each owner's uploads and cache.

jobs.sqlite3          the store
jobs/<id>/            settings.yaml, the output of every task, and the run directory, by its name;
                      results/ of a request
uploads/<owner>/      pictures that the owner brought: the tray, and a folder for each training
cache/<owner>/        what the owner's jobs fetched from the Hub, and encoded pictures
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from memshield.errors import UserError
from memshield.jobs.records import LOCAL, Job
from memshield.paths import expanded
from memshield.rundir import RunDir

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_MADE = re.compile(r"[A-Za-z0-9_-]{22}")
"""Ids as `secrets.token_urlsafe(16)` makes them."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_OF_LOCAL = "_local"  # no name on the Hub begins so
_SHOWN = ("config.yaml", "samples/*.png", "audit/*/*.html", "audit/*/*.json", "publish.json")


class Folders:
    """Paths under one root, none of which leaves it.

    Args:
        root: is made where it is not there.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = expanded(root).resolve()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                str(self.root), f"cannot be made: {error.strerror}", "Choose another folder."
            ) from None
        self.store = self.root / "jobs.sqlite3"

    def job(self, id: str) -> Path:
        """Folder of a job.

        Raises:
            ValueError: it is no id.
        """
        return self.root / "jobs" / _checked(_ID, id)

    def run(self, job: Job) -> RunDir:
        """The run directory of a job."""
        return RunDir(self.job(job.id) / _checked(_NAME, job.name))

    def settings(self, id: str) -> Path:
        """The config file that a job is started with."""
        return self.job(id) / "settings.yaml"

    def log(self, id: str, number: int) -> Path:
        """Output file of a task."""
        return self.job(id) / f"task-{number}.log"

    def told(self, id: str, number: int) -> Path:
        """What another place tells of a task; see `memshield.jobs.told`."""
        return self.job(id) / f"task-{number}.json"

    def request(self, id: str) -> Path:
        """What a request asks for, as data; see `memshield.jobs.requests`."""
        return self.job(id) / "request.json"

    def results(self, id: str) -> Path:
        """Folder of a request's results."""
        return self.job(id) / "results"

    def uploads(self, owner: str) -> Path:
        """Folder of an owner's uploads."""
        return self.root / "uploads" / self._name(owner)

    def cache(self, owner: str) -> Path:
        """Folder of what an owner's jobs fetched and encoded."""
        return self.root / "cache" / self._name(owner)

    def make(self, id: str) -> Path:
        """Make the folder of a new job; nobody else's user can read it."""
        folder = self.job(id)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)
        return folder

    def remove(self, id: str) -> None:
        """Delete all files of a job. What links lead to stays."""
        folder = self.job(id)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)

    def files(self, job: Job) -> tuple[str, ...]:
        """Names of files inside the run directory that the page may link to."""
        path = self.run(job).path
        found = [file for pattern in _SHOWN for file in sorted(path.glob(pattern))]
        return tuple(file.relative_to(path).as_posix() for file in found if file.is_file())

    def _name(self, owner: str) -> str:
        return _OF_LOCAL if owner == LOCAL else _checked(_OWNER, owner)


def is_id(id: object) -> bool:
    """Whether a job could have this id; callers of the API may send anything."""
    return isinstance(id, str) and _ID.fullmatch(id) is not None


def is_run_of_server(path: Path) -> bool:
    """Whether a path has the form of a job's run directory, on whatever server."""
    job = path.parent
    return path.is_absolute() and job.parent.name == "jobs" and bool(_MADE.fullmatch(job.name))


def require_owner(owner: str) -> None:
    """Refuse an owner whose name could not be that of a folder.

    Raises:
        ValueError: it is no user name.
    """
    if owner != LOCAL:
        _checked(_OWNER, owner)


def name_from(text: str) -> str:
    """A valid name for a run folder, made from any text."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return plain or "run"


def _checked(rule: re.Pattern[str], text: str) -> str:
    if not rule.fullmatch(text):
        raise ValueError(f"{text!r} cannot be the name of a folder")
    return text
