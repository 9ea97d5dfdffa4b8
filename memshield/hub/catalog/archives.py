"""Files of a repository by name, loose or inside zip archives, read in place."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from memshield.data.archives import MOST_MEMBERS, is_hidden
from memshield.hub.catalog.remote import RemoteFiles

MOST_ARCHIVES = 16
"""Archives of a split that are looked into; each takes requests."""
_HOP = "::"


class NamedFiles:
    """Files by name: a file in an archive is named archive.zip::path, any other by its path.

    Args:
        remote: the repository.
    """

    def __init__(self, remote: RemoteFiles) -> None:
        self._remote = remote
        self._archives: dict[str, zipfile.ZipFile] = {}

    def names(self, paths: Sequence[str]) -> list[str]:
        """Loose files first, then those in the first `MOST_ARCHIVES` archives.

        Raises:
            ValueError: an archive is broken.
        """
        archives = archives_of(paths)
        found = [path for path in paths if path not in archives]
        for archive in archives[:MOST_ARCHIVES]:
            members = self._open(archive).infolist()
            if len(members) > MOST_MEMBERS:
                raise ValueError(f"{archive}: {len(members)} files are too many")
            found += [
                f"{archive}{_HOP}{name}"
                for name in sorted(one.filename for one in members if not one.is_dir())
                if not is_hidden(name)
            ]
        return found

    def size(self, name: str) -> int | None:
        """Bytes of a file once it is unpacked, as listed; None where there is no such file."""
        archive, _, path = name.rpartition(_HOP)
        if not archive:
            return self._remote.sizes.get(name)
        contents = self._open(archive)
        return contents.getinfo(path).file_size if path in contents.NameToInfo else None

    def read(self, name: str, most: int) -> bytes:
        """The first bytes of a file, at most so many."""
        archive, _, path = name.rpartition(_HOP)
        if not archive:
            return self._remote.read(name, most)
        try:
            with self._open(archive).open(path) as member:
                return member.read(most)
        # Damage, a password, a compression that Python does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(f"{archive}: {error}") from None

    def _open(self, archive: str) -> zipfile.ZipFile:
        if archive not in self._archives:
            try:
                self._archives[archive] = zipfile.ZipFile(self._remote.open(archive))
            except zipfile.BadZipFile as error:
                raise ValueError(f"{archive}: {error}") from None
        return self._archives[archive]


def archives_of(paths: Sequence[str]) -> list[str]:
    """Those that are archives."""
    return [path for path in paths if path.lower().endswith(".zip")]


def beside(name: str, relative: str) -> str | None:
    """The name of a file that is given relative to the folder of another; None if it leaves it."""
    archive, hop, path = name.rpartition(_HOP)
    steps: list[str] = []
    for step in PurePosixPath(relative).parts:
        if step == "..":
            if not steps:
                return None
            steps.pop()
        else:
            steps.append(step)
    if relative.startswith("/") or "://" in relative or not steps:
        return None
    return f"{archive}{hop}{PurePosixPath(path).parent.joinpath(*steps)}"
