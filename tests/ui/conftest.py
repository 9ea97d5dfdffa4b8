"""What page tests share with those of publishing: runs that are trained once."""

from tests.hub.conftest import captions as captions
from tests.hub.conftest import tiny_base as tiny_base
from tests.hub.conftest import trained_digits as trained_digits
