"""Who is let in: everything that attacks a server of one's own machine is refused, and the page still answers."""

import socket
import time

import pytest
from starlette.testclient import TestClient

from asking_page import AskingPage
from cryotx_cli.review.gate import MOST_BYTES, Gate
from cryotx_cli.review.server import Server
from cryotx_cli.review.tiles import Tiles
from reviewed_run import Served

PLACES = [
    "/",
    "/api/review",
    "/api/micrographs/0",
    "/api/changes",
    "/api/counts",
    "/tiles/0/0/0/0",
    "/web/program/main.js",
    "/nothing",
]


@pytest.fixture
def gate(opened):
    return Gate(Server(opened.session, Tiles(), dict).app(), 8118, is_open=False)


def client(gate, base="http://localhost:8118"):
    return TestClient(gate, base_url=base)


@pytest.fixture
def inside(gate):
    return AskingPage(gate)


@pytest.mark.parametrize("place", PLACES)
def test_without_the_cookie_nothing_is_answered(gate, place):
    for headers in ({}, {"cookie": "cryotx_review_8118="}, {"cookie": "cryotx_review_8118=wrong"}, {"cookie": ";=;"}):
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
            answer = client(gate).request(method, place, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


def test_a_token_lets_one_browser_in_and_then_no_other(gate):
    token = gate.token
    first, second = client(gate), client(gate)
    answer = first.get(f"/?token={token}")
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert first.get("/api/review").status_code == 200
    assert second.get(f"/?token={token}").status_code == 403
    assert second.get("/api/review").status_code == 403
    assert gate.token != token
    assert second.get(f"/?token={gate.token}").status_code == 200


@pytest.mark.parametrize("query", ["token=", "token=wrong", "", "token", "token=%00", "token=é", f"token={'a' * 5000}"])
def test_a_wrong_token_is_none(gate, query):
    assert client(gate).get(f"/?{query}").status_code == 403


def test_a_token_is_taken_at_the_page_alone(gate):
    assert client(gate).get(f"/api/review?token={gate.token}").status_code == 403
    assert client(gate).post(f"/?token={gate.token}").status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8118", "localhost.evil.example", "10.0.0.1:8118", ""])
def test_a_foreign_name_of_this_server_is_refused(inside, host):
    assert inside.get("/api/review", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:8118", "[::1]:8118", "LOCALHOST"])
def test_names_of_this_machine_are_its_own_whatever_the_port_of_a_tunnel(inside, host):
    assert inside.get("/api/review", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "http://localhost", "file://"]
)
def test_a_foreign_page_is_refused_even_with_the_cookie(inside, opened, origin):
    body = {"kind": "cut", "threshold": 0.1, "distance": None, "id": "1"}
    for method, place in (("POST", "/api/changes"), ("POST", "/api/edition"), ("GET", "/api/review")):
        assert inside.request(method, place, json=body, headers={"origin": origin}).status_code == 403
    assert opened.session.last == 0
    assert inside.post("/api/changes", json=body, headers={"origin": "http://localhost:8118"}).status_code == 200


def test_a_request_that_a_browser_says_is_of_another_site_changes_nothing(inside, opened):
    body = {"kind": "cut", "threshold": 0.1, "distance": None, "id": "1"}
    answer = inside.post("/api/changes", json=body, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert opened.session.last == 0


def test_every_answer_forbids_what_a_page_does_not_need(inside, gate):
    for answer in (inside.get("/"), inside.get("/api/review"), inside.get("/nothing"), client(gate).get("/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/web/../server.py",
        "/web/..%2fserver.py",
        "/web/%2e%2e/server.py",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/program/../../journal.py",
        "/web/program",
        "/web/",
        "/web/page.html%00.js",
        "/tiles/0/0/0/..",
        "/tiles/../../etc/passwd",
        "/tiles/-1/0/0/0",
        "/tiles/99999999999999999999/0/0/0",
        "/tiles/0/0/99999999999/0",
        "/tiles/0/77/0/0",
        "/api/micrographs/..%2f..%2fp.star",
    ],
)
def test_no_path_leads_out_of_the_review(inside, path):
    answer = inside.get(path)
    assert answer.status_code in (404, 422)
    assert b"root:" not in answer.content
    assert b"import" not in answer.content


def test_a_link_in_the_folder_of_the_run_is_not_followed_because_nothing_is_served_from_there(inside, opened):
    (opened.folder / "secret.html").symlink_to("/etc/passwd")
    for path in ("/secret.html", "/web/secret.html", "/web/../review/secret.html"):
        assert inside.get(path).status_code == 404


def test_a_large_body_is_refused_before_it_is_read(inside, opened):
    taken = 0

    def endless():
        nonlocal taken
        for _ in range(100):
            taken += 1_000_000
            yield b"x" * 1_000_000

    assert inside.post("/api/changes", content=b" " * (MOST_BYTES + 1)).status_code == 413
    assert inside.post("/api/changes", content=endless()).status_code == 413
    assert inside.post("/api/changes", content=b"{}", headers={"content-length": "-1"}).status_code == 413
    assert opened.session.last == 0


def test_an_open_server_answers_by_its_numbers_but_not_by_foreign_names(opened):
    gate = Gate(Server(opened.session, Tiles(), dict).app(), 8118, is_open=True)
    found = client(gate, "http://192.168.1.7:8118")
    assert found.get(f"/?token={gate.token}").status_code == 200
    assert found.get("/api/review", headers={"host": "evil.example"}).status_code == 403


def connect(port):
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    found.settimeout(10)
    return found


def status(port, request):
    with connect(port) as connection:
        connection.sendall(request)
        answer = connection.recv(4096)
    return int(answer.split()[1]) if answer else None


@pytest.mark.slow
def test_floods_of_connections_and_bodies_leave_the_page_answering(run):
    served = Served(run)
    try:
        url = served.url()
        port = int(url.split(":")[2].split("/")[0])
        idle = [connect(port) for _ in range(200)]
        half = [connect(port) for _ in range(50)]
        for one in half:
            one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-")  # and no more of it
        started = time.monotonic()
        assert status(port, f"GET /?token={url.partition('=')[2]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) == 200
        assert time.monotonic() - started < 5
        # 100 MB from somebody without a cookie: refused at once, and not read.
        with connect(port) as connection:
            connection.sendall(b"POST /api/changes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n")
            assert connection.recv(100).split()[1] == b"413"
        with connect(port) as connection:
            connection.sendall(b"POST /api/changes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert connection.recv(100).split()[1] == b"403"
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                connection.sendall(100 * (b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"))
        # Who says nothing is shown the door.
        deadline = time.monotonic() + 20
        for one in (*idle, *half):
            one.settimeout(max(0.1, deadline - time.monotonic()))
            assert one.recv(1000)[:12] in (b"", b"HTTP/1.1 400")
            one.close()
        assert status(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == 403
        assert served.interrupt() == 0
    finally:
        served.kill()
