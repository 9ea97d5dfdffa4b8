"""Who is looking at the page, by what the Hub says of the token that came with the request."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from huggingface_hub.errors import HfHubHTTPError

from memshield.errors import UserError
from memshield.hub.account import api_for
from memshield.network import NO_ANSWER, Token, TryAgainError

LOCAL = ""
"""The one user at home."""
_KNOWN_FOR = 300.0
_MOST_KNOWN = 1000


@dataclass(frozen=True)
class Visitor:
    """Whoever looks at the page.

    Attributes:
        owner: what jobs and files belong to: a name on the Hub, or `LOCAL`; None signed out.
        token: to ask the Hub with; never shown.
    """

    owner: str | None
    token: Token = field(repr=False)

    def require_owner(self) -> str:
        """The owner.

        Raises:
            UserError: the visitor is signed out.
        """
        if self.owner is None:
            raise UserError("sign in", "this needs to know who you are", "Sign in above.")
        return self.owner


def _name_of(token: str) -> str:
    return str(api_for(token).whoami()["name"])


class Visitors:
    """Tells visitors by their tokens, and remembers the answers for a while.

    A profile that comes with a request is not believed: whoever calls the API can make one up.

    Args:
        on_space: whether visitors sign in.
        name_of: asks the Hub whose token it is.
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
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def of(self, token: str | None) -> Visitor:
        """The visitor who sent this token.

        Raises:
            UserError: the Hub does not know the token, or cannot be asked.
        """
        if not self._on_space:
            return Visitor(LOCAL, None)
        if not token:
            # Not None: that would be the operator's own token.
            return Visitor(None, False)
        digest = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            name, until = self._known.get(digest, ("", 0.0))
        if self._clock() >= until:
            name = self._ask(token)
            with self._lock:
                self._known[digest] = name, self._clock() + _KNOWN_FOR
                while len(self._known) > _MOST_KNOWN:
                    self._known.popitem(last=False)
        return Visitor(name, token)

    def _ask(self, token: str) -> str:
        try:
            return self._name_of(token)
        except HfHubHTTPError:
            raise UserError(
                "sign in", "the Hub does not accept your sign-in any more", "Sign in again."
            ) from None
        except (TryAgainError, *NO_ANSWER) as error:
            raise UserError(
                "sign in",
                f"the Hub cannot be asked who you are ({type(error).__name__})",
                "Try again in a while.",
            ) from None
