"""What asks the server of a review as a page does, without a browser."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from cryotx_cli.review.gate import Gate
from cryotx_cli.review.server import Server


class AskingPage(TestClient):
    """Says with each request which run it knows: that of the first answer.

    Parameters
    ----------
    gate
        Stands before the server, and lets it in.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__(gate, base_url="http://localhost:8118")
        self.run: str | None = None
        assert self.get(f"/?token={gate.token}").status_code == 200
        self.run = self.get("/api/review").json()["run"]

    def request(self, method: str, url: Any, **options: Any) -> Any:
        mark = "&" if "?" in url else "?"
        return super().request(method, url if self.run is None else f"{url}{mark}run={self.run}", **options)


def asking_page(server: Server) -> AskingPage:
    """Return one that a server has let in."""
    return AskingPage(Gate(server.app(), 8118, is_open=False))
