"""A session with a CryoSPARC instance by cryosparc-tools, and what its refusals mean.

cryosparc-tools is imported here alone, and only when it is needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cryotx_cli.errors import ConfigError, CryotxError

_TIMEOUT = 60  # seconds, and the client tries three times
_LOGIN = "Run python -m cryosparc.tools login once, or set CRYOSPARC_EMAIL and CRYOSPARC_PASSWORD."


def connect(url: str | None, email: str | None, say: Callable[[str], None]) -> Any:
    """Connect to a CryoSPARC instance as cryosparc-tools does: by its environment variables and its file of logins.

    Parameters
    ----------
    url
        Of the instance; None: what ``CRYOSPARC_BASE_URL``, or host and port, say.
    email
        Whose login to use; None: that of ``CRYOSPARC_EMAIL``, or the only one.
    say
        Takes what cryosparc-tools warns of.

    Returns
    -------
    cryosparc.tools.CryoSPARC
        A session.

    Raises
    ------
    ConfigError
        cryosparc-tools is not installed, or no address or no login is known.
    CryotxError
        No instance answers there, or it refuses.
    """
    try:
        from cryosparc.tools import CryoSPARC
    except ImportError as error:
        raise ConfigError(
            f"cryosparc-tools is not installed here ({error})", "Install it with pip install 'cryotx-cli[cryosparc]'."
        ) from error
    asked: dict[str, Any] = {"timeout": _TIMEOUT, **({"email": email} if email else {})}
    if url:
        asked |= {"base_url": url.rstrip("/"), "host": None, "base_port": None}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            session = CryoSPARC(**asked)
        except TypeError as error:
            hint = "Give the address that the browser shows, such as http://host:39000."
            raise ConfigError(f"--url: {error}", hint) from error
        except ValueError as error:
            raise ConfigError(f"CryoSPARC: {_first_line(error)}", _LOGIN) from error
        except RuntimeError as error:
            reason = answer_in(error.__cause__ or error)
            raise CryotxError(f"CryoSPARC does not answer: {reason}", f"Check --url. {_LOGIN}") from error
    # Of each attempt that fails; that the last one has failed is told here.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"cryosparc\.api")
    for warning in told:
        say(_first_line(warning.message))
    return session


@contextmanager
def asked_of(what: str, hint: str = "") -> Iterator[None]:
    """Turn what CryoSPARC answers when it refuses into an error that says what it was asked for.

    Raises
    ------
    CryotxError
        It refuses, or does not answer.
    """
    try:
        yield
    except (CryotxError, TypeError):
        raise
    except Exception as error:  # APIError, and errors of httpx, which comes with cryosparc-tools
        if not type(error).__module__.startswith(("cryosparc", "httpx", "httpcore")):
            raise
        raise CryotxError(f"CryoSPARC was asked {what}, and answered: {answer_in(error)}", hint) from error


def answer_in(error: BaseException) -> str:
    """Return what CryoSPARC has answered, in one line."""
    data = getattr(error, "data", None)
    detail = data.get("detail") if isinstance(data, dict) else None
    return str(detail) if detail else _first_line(error)


def _first_line(error: object) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
