"""Identifies visitors by asking the Hub about the token that came with a request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError

from memshield.errors import UserError
from memshield.hub.account import api_for, require_token
from memshield.hub.session import steady_session
from memshield.network import NO_ANSWER, Token, TryAgainError

LOCAL = ""
"""The one user at home."""
LONGEST_SECONDS = 86_400.0
"""What is known of a signed-in visitor is kept no longer than this."""
_KNOWN_FOR = 300.0
_PAUSE = 15.0
"""Seconds before a Hub that did not answer is asked again, however often a page is refreshed."""
_SILENCE = 5.0
_MOST_KNOWN = 1000
ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Visitor:
    """A visitor of the page.

    Attributes:
        owner: of jobs and files: a name on the Hub, or `LOCAL`; None for a signed-out visitor.
        token: for requests to the Hub; never shown.
    """

    owner: str | None
    token: Token = field(repr=False)

    def require_owner(self) -> str:
        """The owner.

        Raises:
            UserError: the visitor is signed out.
        """
        if self.owner is None:
            raise UserError("sign in", "you are signed out", "Sign in above.")
        return self.owner


def _name_of(token: str) -> str:
    with steady_session(silence=_SILENCE):
        return str(api_for(token).whoami()["name"])


@dataclass(frozen=True)
class _Known:
    """The owner of a token, when to ask again, and until when to believe it without an answer."""

    name: str
    ask_again: float
    until: float


@dataclass(frozen=True)
class _Refused:
    """Why a token identifies nobody, how long that holds, and whether the Hub answered."""

    problem: str
    remedy: str
    until: float
    answered: bool = True


class Visitors:
    """Identifies visitors by their tokens, whose digests it remembers for a while.

    A profile in a request is not trusted: anyone who calls the API can invent one. A known
    visitor stays known for up to a day while the Hub does not answer: otherwise a training would
    vanish from the page of the person who watches it.

    Args:
        on_space: whether visitors sign in.
        name_of: asks the Hub for the owner of a token.
        clock: seconds.
    """

    def __init__(
        self,
        on_space: bool,
        name_of: Callable[[str], str] = _name_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_space = on_space
        self._name_of = name_of
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._refused: OrderedDict[str, _Refused] = OrderedDict()

    def of(self, token: str | None) -> Visitor:
        """Identify the visitor who sent a token.

        Raises:
            UserError: the Hub does not know the token, it was signed out here, or the Hub cannot
                be asked.
        """
        if not self._on_space:
            return Visitor(LOCAL, None)
        if not token:
            # None would stand for the operator's own token.
            return Visitor(None, False)
        digest, now = _digest(token), self._clock()
        with self._lock:
            self._require_not_refused(digest)
            known = self._known.get(digest)
            if known is not None:
                if now < known.ask_again:
                    return Visitor(known.name, token)
                # Other requests need not wait while the Hub is asked.
                self._known[digest] = replace(known, ask_again=now + _PAUSE)
        found = self._ask(token)
        with self._lock:
            self._require_not_refused(digest)  # signed out meanwhile
            if isinstance(found, str):
                now = self._clock()
                _put(self._known, digest, _Known(found, now + _KNOWN_FOR, now + LONGEST_SECONDS))
                return Visitor(found, token)
            if known is not None and now < known.until and not found.answered:
                return Visitor(known.name, token)
            self._refuse(digest, found)
            raise _error(found)

    def sign_out(self, token: str) -> None:
        """Forget a visitor, and refuse the token from now on."""
        until = self._clock() + LONGEST_SECONDS
        with self._lock:
            self._refuse(_digest(token), _Refused("you have signed out", "Sign in again.", until))

    def _require_not_refused(self, digest: str) -> None:
        refused = self._refused.get(digest)
        if refused is not None and self._clock() < refused.until:
            raise _error(refused)

    def _refuse(self, digest: str, refused: _Refused) -> None:
        self._known.pop(digest, None)
        _put(self._refused, digest, refused)

    def _ask(self, token: str) -> str | _Refused:
        try:
            require_token(token)
            return self._name_of(token)
        except UserError:  # not a possible token
            return self._not_accepted()
        except HfHubHTTPError as error:
            if error.response.status_code == 401:
                return self._not_accepted()
            trouble = f"it answered {error.response.status_code}"
        except TryAgainError as error:
            trouble = error.reason
        except NO_ANSWER as error:
            trouble = type(error).__name__
        except (KeyError, TypeError, ValueError):
            trouble = "its answer is not understood"
        problem = f"the Hub cannot be asked who you are ({trouble})"
        until = self._clock() + _PAUSE
        return _Refused(problem, "Try again in a while.", until, answered=False)

    def _not_accepted(self) -> _Refused:
        problem = "the Hub does not accept your sign-in any more"
        return _Refused(problem, "Sign in again.", self._clock() + _PAUSE)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _error(refused: _Refused) -> UserError:
    return UserError("sign in", refused.problem, refused.remedy)


def _put(held: OrderedDict[str, ValueT], digest: str, value: ValueT) -> None:
    """Add an entry, and drop the oldest beyond the limit."""
    held[digest] = value
    held.move_to_end(digest)
    while len(held) > _MOST_KNOWN:
        held.popitem(last=False)
