"""A stand-in for a CryoSPARC instance that cryosparc-tools talks to over loopback HTTP, for one project.

It knows as much of the protocol as an External job of a picker needs. Requests are made by the client of
cryosparc-tools; answers are its own models; data sets are read by its own class and checked against what picking jobs
of CryoSPARC put out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import mrcfile
import numpy as np
from cryosparc.dataset import Dataset
from cryosparc.models.job import Job
from cryosparc.models.job_spec import Connection, Input, JobSpec, Output, OutputResult, OutputSpec, Params, ResourceSpec
from cryosparc.models.user import User

EMAIL, PASSWORD, TOKEN = "ali@example.com", "secret of Ali", "token of Ali"
PROJECT, WORKSPACE, SOURCE = "P3", "W1", "J12"

NAMES = [f"J5/motioncorrected/{name}_patch_aligned_doseweighted.mrc" for name in "abc"]

# As a job of the blob picker has them.
SLOTS = {
    "location": [
        ("location/micrograph_uid", "<u8"),
        ("location/exp_group_id", "<u4"),
        ("location/micrograph_path", "O"),
        ("location/micrograph_shape", "<u4", (2,)),
        ("location/micrograph_psize_A", "<f4"),
        ("location/center_x_frac", "<f4"),
        ("location/center_y_frac", "<f4"),
        ("location/min_dist_A", "<f4"),
    ],
    "pick_stats": [
        ("pick_stats/ncc_score", "<f4"),
        ("pick_stats/power", "<f4"),
        ("pick_stats/template_idx", "<u4"),
        ("pick_stats/angle_rad", "<f4"),
    ],
    "micrograph_blob": [
        ("micrograph_blob/path", "O"),
        ("micrograph_blob/idx", "<u4"),
        ("micrograph_blob/shape", "<u4", (2,)),
        ("micrograph_blob/psize_A", "<f4"),
        ("micrograph_blob/format", "O"),
        ("micrograph_blob/is_background_subtracted", "<u4"),
        ("micrograph_blob/vmin", "<f4"),
        ("micrograph_blob/vmax", "<f4"),
        ("micrograph_blob/import_sig", "<u8"),
    ],
}


class RefusedError(Exception):
    """An answer with an HTTP status that is an error."""

    def __init__(self, status: int, detail: str) -> None:
        self.status, self.detail = status, detail


@dataclass
class Event:
    """A line of the log of a job."""

    text: str
    type: str
    pictures: list[str] = field(default_factory=list)


class StandIn:
    """The instance: one project, in which the job `SOURCE` has put out `exposures`."""

    def __init__(self, folder: Path, exposures: Dataset) -> None:
        self.folder, self.exposures = folder, exposures
        self.jobs: dict[str, Job] = {}
        self.saved: dict[tuple[str, str], Dataset] = {}
        self.log: dict[str, list[Event]] = {}
        self.assets: dict[str, bytes] = {}
        self.images: dict[str, str] = {}  # output of the job, or tile, and its asset
        self.refusals: dict[str, RefusedError] = {}  # by the name of the function
        self.calls: list[str] = []
        self._add(SOURCE, "motion_correction", "completed").spec.outputs.root["exposures"] = Output(
            type="exposure", title="Exposures", results=[OutputResult(name="micrograph_blob", dtype="micrograph_blob")]
        )

    def _add(self, uid: str, kind: str, status: str) -> Job:
        spec = JobSpec(type=kind, params=Params(), ui_tile_width=1, ui_tile_height=1, resource_spec=ResourceSpec())
        self.jobs[uid] = Job(
            uid=uid,
            uid_num=int(uid[1:]),
            project_uid=PROJECT,
            project_uid_num=int(PROJECT[1:]),
            workspace_uids=[WORKSPACE],
            job_dir=uid,
            status=status,
            status_num=0,
            spec=spec,
            build_errors=[],
            job_dir_size_last_updated=datetime.now(UTC),
        )
        self.log[uid] = []
        (self.folder / uid).mkdir(exist_ok=True)
        return self.jobs[uid]

    def _job(self, project: str, uid: str) -> Job:
        if project != PROJECT or uid not in self.jobs:
            raise RefusedError(404, f"{project} {uid} does not exist")
        return self.jobs[uid]

    # ---- what the client calls, by the names that it has for it --------------------------------------------------

    def login(self, form: dict[str, str]) -> dict[str, str]:
        if form["username"] != EMAIL or form["password"] != sha256(PASSWORD.encode()).hexdigest():
            raise RefusedError(401, "Incorrect username or password")
        return {"access_token": TOKEN, "token_type": "bearer"}

    def users_me(self) -> User:
        return User(name="ali", first_name="Ali", last_name="Baba")

    def config_get_version(self) -> str:
        return "v5.0.3"

    def jobs_find_one(self, project: str, uid: str) -> Job:
        return self._job(project, uid)

    def jobs_create(self, project: str, workspace: str, *, type: str, title: str = "", description: str = "") -> Job:
        if (project, workspace) != (PROJECT, WORKSPACE):
            raise RefusedError(404, f"{project} {workspace} does not exist")
        assert type == "snowflake"
        job = self._add(f"J{int(max(self.jobs, key=lambda uid: int(uid[1:]))[1:]) + 1}", type, "building")
        job.title = title
        return job

    def jobs_get_directory(self, project: str, uid: str) -> str:
        return str(self.folder / self._job(project, uid).job_dir)

    def jobs_add_external_input(self, project: str, uid: str, name: str, body: dict[str, Any]) -> Job:
        job = self._job(project, uid)
        job.spec.inputs.root[name] = Input(**body)
        return job

    def jobs_add_external_output(self, project: str, uid: str, name: str, body: dict[str, Any]) -> Job:
        job, spec = self._job(project, uid), OutputSpec(**body)
        assert spec.passthrough is None or spec.passthrough in job.spec.inputs.root
        results = [OutputResult(name=slot.name, dtype=slot.dtype) for slot in spec.slots]
        job.spec.outputs.root[name] = Output(type=spec.type, title=spec.title, results=results)
        return job

    def jobs_connect(self, project: str, uid: str, name: str, *, source_job_uid: str, source_output_name: str) -> Job:
        job, source = self._job(project, uid), self._job(project, source_job_uid)
        assert source.spec.outputs.root[source_output_name].type == job.spec.inputs.root[name].type
        job.spec.inputs.root[name].connections = [Connection(job_uid=source_job_uid, output=source_output_name)]
        return job

    def jobs_load_input(self, project: str, uid: str, name: str, *, slots: str = "default") -> Dataset:
        (connection,) = self._job(project, uid).spec.inputs.root[name].connections
        assert (connection.job_uid, connection.output, slots) == (SOURCE, "exposures", "all")
        return self.exposures

    def jobs_get_output_fields(self, project: str, uid: str, name: str, body: dict[str, Any]) -> list[Any]:
        results = self._job(project, uid).spec.outputs.root[name].results
        return [("uid", "<u8"), *(entry for result in results for entry in SLOTS[result.dtype])]

    def jobs_mark_running(self, project: str, uid: str, *, status: str = "running") -> Job:
        job = self._job(project, uid)
        if job.status == "completed":
            raise RefusedError(422, f"{uid} is completed")
        job.status = status  # type: ignore[assignment]
        return job

    def jobs_mark_completed(self, project: str, uid: str) -> Job:
        return self._ended(project, uid, "completed")

    def jobs_mark_failed(self, project: str, uid: str, *, error: str = "") -> Job:
        self.log[uid].append(Event(error, "error"))
        return self._ended(project, uid, "failed")

    def _ended(self, project: str, uid: str, status: str) -> Job:
        job = self._job(project, uid)
        if job.status not in ("running", "waiting"):
            raise RefusedError(422, f"{uid} is {job.status}")
        job.status = status  # type: ignore[assignment]
        return job

    def jobs_save_output(self, project: str, uid: str, name: str, body: Dataset, *, version: str = "0") -> Job:
        job = self._job(project, uid)
        if job.status not in ("running", "waiting"):
            raise RefusedError(422, f"{uid} is {job.status}")
        self._check(name, [tuple(entry) for entry in self.jobs_get_output_fields(project, uid, name, {})], body)
        self.saved[uid, name] = body
        for result in job.spec.outputs.root[name].results:
            result.versions, result.num_items = [int(version)], [len(body)]
        return job

    def _check(self, name: str, fields: list[Any], table: Dataset) -> None:
        """Refuse what a job that takes the output would stumble over."""
        found = {entry[0]: tuple(entry[1:]) for entry in table.descr()}
        if found != {entry[0]: (np.dtype(entry[1]).str, *entry[2:]) for entry in fields}:
            raise RefusedError(422, f"{name} has other fields: {found}")
        if len(set(table["uid"])) != len(table):
            raise RefusedError(422, f"{name} has a uid twice")
        known = {int(row["uid"]): row for row in self.exposures.rows()}
        for row in table.rows():
            exposure = known.get(int(row["location/micrograph_uid" if name == "particles" else "uid"]))
            if exposure is None:
                raise RefusedError(422, f"{name} names a micrograph that is no exposure")
            blob = "location/micrograph" if name == "particles" else "micrograph_blob"
            joint = "_" if name == "particles" else "/"
            for part in ("path", "shape", "psize_A"):
                if not np.array_equal(row[f"{blob}{joint}{part}"], exposure[f"micrograph_blob/{part}"]):
                    raise RefusedError(422, f"{name} has another {part} than its exposure")
        if name == "particles":
            for axis in "xy":
                fractions = np.asarray(table[f"location/center_{axis}_frac"])
                if not ((fractions >= 0) & (fractions <= 1)).all():
                    raise RefusedError(422, "particles lie outside")

    def jobs_add_event_log(self, project: str, uid: str, body: str, *, type: str = "text") -> dict[str, Any]:
        self._job(project, uid)
        self.log[uid].append(Event(body, type))
        return self._event(uid, len(self.log[uid]) - 1)

    def jobs_update_event_log(
        self, project: str, uid: str, event: str, body: str, *, type: str = "text"
    ) -> dict[str, Any]:
        self.log[uid][int(event, 16)] = Event(body, type)
        return self._event(uid, int(event, 16))

    def jobs_add_image_log(
        self, project: str, uid: str, body: list[dict[str, str]], *, text: str, flags: Any = ()
    ) -> dict[str, Any]:
        self.log[uid].append(Event(text, "image", [one["fileid"] for one in body]))
        return self._event(uid, len(self.log[uid]) - 1)

    def _event(self, uid: str, index: int) -> dict[str, Any]:
        event = self.log[uid][index]
        return {"_id": f"{index:024x}", "project_uid": PROJECT, "job_uid": uid, "type": event.type, "text": event.text}

    def assets_upload(
        self, project: str, uid: str, body: bytes, *, filename: str = "", format: str = ""
    ) -> dict[str, str]:
        fileid = f"{len(self.assets):024x}"
        self.assets[fileid] = body
        return {"fileid": fileid, "filename": filename, "filetype": format}

    def jobs_set_output_image(self, project: str, uid: str, name: str, body: dict[str, str]) -> Job:
        self.images[name] = body["fileid"]
        return self._job(project, uid)

    def jobs_set_tile_image(self, project: str, uid: str, body: dict[str, str]) -> Job:
        self.images["tile"] = body["fileid"]
        return self._job(project, uid)


def small_project(folder: Path) -> StandIn:
    """Make a project with three small micrographs, `NAMES`."""
    for seed, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(folder / name) as mrc:
            mrc.set_data(np.random.default_rng(seed).normal(0, 1, (64, 96)).astype(np.float32))
            mrc.voxel_size = 2.0
    table = Dataset.allocate(3, SLOTS["micrograph_blob"] + [("ctf/df1_A", "<f4"), ("ctf/exp_group_id", "<u4")])
    table["micrograph_blob/path"] = np.array(NAMES, object)
    table["micrograph_blob/shape"] = np.array([(64, 96)] * 3, np.uint32)
    table["micrograph_blob/psize_A"] = 2.0
    table["micrograph_blob/format"] = np.array(["MRC/2"] * 3, object)
    table["micrograph_blob/vmax"] = np.arange(3)
    table["ctf/exp_group_id"] = 7
    return StandIn(folder, table)


_JOB = "/projects/{project_uid}/jobs/{job_uid}"
_ANSWER = {
    "Job": {"$ref": "#/components/schemas/Job"},
    "User": {"$ref": "#/components/schemas/User"},
    "Token": {"$ref": "#/components/schemas/Token"},
    "TextEvent": {"$ref": "#/components/schemas/TextEvent"},
    "ImageEvent": {"$ref": "#/components/schemas/ImageEvent"},
    "GridFSAsset": {"$ref": "#/components/schemas/GridFSAsset"},
    "str": {"type": "string"},
    "list": {},
}
_DATASET, _BINARY = "application/x-cryosparc-dataset", "application/octet-stream"


@dataclass(frozen=True)
class _Endpoint:
    """A function of the interface: `name` is what the client calls it."""

    name: str
    method: str
    path: str
    answer: str
    query: tuple[str, ...] = ()
    body: tuple[str, str] | None = None  # its type, and what the client calls it

    def schema(self) -> dict[str, Any]:
        in_path = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", self.path)
        ]
        in_query = [{"name": name, "in": "query", "required": False, "schema": {}} for name in self.query]
        content = {_DATASET: {}} if self.answer == "Dataset" else {"application/json": {"schema": _ANSWER[self.answer]}}
        failed = {str(code): {"content": {"application/json": {"schema": {}}}} for code in (401, 404, 422, 500)}
        found: dict[str, Any] = {
            "summary": self.name,
            "parameters": in_path + in_query,
            "responses": {("201" if self.answer == "Dataset" else "200"): {"content": content}, **failed},
        }
        if self.body:
            found["requestBody"] = {"content": {self.body[0]: {"schema": {"title": self.body[1]}}}}
        return found


_JSON = "application/json"
ENDPOINTS = (
    _Endpoint("login", "post", "/login", "Token", body=("application/x-www-form-urlencoded", "form")),
    _Endpoint("users.me", "get", "/users/me", "User"),
    _Endpoint("config.get_version", "get", "/config/version", "str"),
    _Endpoint("jobs.find_one", "get", _JOB, "Job"),
    _Endpoint(
        "jobs.create",
        "post",
        "/projects/{project_uid}/workspaces/{workspace_uid}/jobs",
        "Job",
        ("type", "title", "description"),
    ),
    _Endpoint("jobs.get_directory", "get", _JOB + "/directory", "str"),
    _Endpoint("jobs.add_external_input", "post", _JOB + "/inputs/{input_name}", "Job", body=(_JSON, "body")),
    _Endpoint("jobs.add_external_output", "post", _JOB + "/outputs/{output_name}", "Job", body=(_JSON, "body")),
    _Endpoint(
        "jobs.connect",
        "post",
        _JOB + "/inputs/{input_name}/connections",
        "Job",
        ("source_job_uid", "source_output_name"),
    ),
    _Endpoint("jobs.load_input", "get", _JOB + "/inputs/{input_name}/dataset", "Dataset", ("slots", "force_join")),
    _Endpoint(
        "jobs.get_output_fields", "post", _JOB + "/outputs/{output_name}/fields", "list", body=(_JSON, "dtype_params")
    ),
    _Endpoint("jobs.mark_running", "post", _JOB + "/running", "Job", ("status",)),
    _Endpoint("jobs.mark_completed", "post", _JOB + "/completed", "Job"),
    _Endpoint("jobs.mark_failed", "post", _JOB + "/failed", "Job", ("error",)),
    _Endpoint(
        "jobs.save_output",
        "post",
        _JOB + "/outputs/{output_name}/dataset",
        "Job",
        ("version", "filename"),
        (_DATASET, "dataset"),
    ),
    _Endpoint("jobs.add_event_log", "post", _JOB + "/events", "TextEvent", ("type",), (_JSON, "text")),
    _Endpoint("jobs.update_event_log", "post", _JOB + "/events/{event_id}", "TextEvent", ("type",), (_JSON, "text")),
    _Endpoint("jobs.add_image_log", "post", _JOB + "/images", "ImageEvent", ("text", "flags"), (_JSON, "images")),
    _Endpoint("assets.upload", "post", _JOB + "/assets", "GridFSAsset", ("filename", "format"), (_BINARY, "stream")),
    _Endpoint("jobs.set_output_image", "post", _JOB + "/outputs/{output_name}/image", "Job", body=(_JSON, "body")),
    _Endpoint("jobs.set_tile_image", "post", _JOB + "/tile", "Job", body=(_JSON, "body")),
)


def _openapi() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for one in ENDPOINTS:
        paths.setdefault(one.path, {})[one.method] = one.schema()
    return {"info": {}, "paths": paths, "components": {}}


def _dumped(answer: Any) -> bytes:
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json", by_alias=True)
    return json.dumps(answer).encode()


@contextmanager
def serving(instance: StandIn) -> Iterator[str]:
    """Serve an instance in this context; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("get")

        def do_POST(self) -> None:
            self._answer("post")

        def log_message(self, *_: Any) -> None:
            pass

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") == "chunked":
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, method: str) -> None:
            body, kind = self._body(), _JSON
            try:
                content = self._called(method, body)
                status = 200
                if isinstance(content, Dataset):
                    content, kind, status = b"".join(content.stream()), _DATASET, 201
            except RefusedError as refused:
                status, content = refused.status, _dumped({"detail": refused.detail})
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _called(self, method: str, body: bytes) -> Any:
            url = urlsplit(self.path)
            path = url.path.removeprefix("/api/cmd")
            if path == "/openapi.json":
                return _dumped(_openapi())
            for one in ENDPOINTS:
                pattern = re.sub(r"{\w+}", "([^/]+)", one.path)
                if one.method == method and (found := re.fullmatch(pattern, path)):
                    return self._asked(one, [unquote(part) for part in found.groups()], parse_qs(url.query), body)
            raise RefusedError(404, f"{method} {path} is unknown to the stand-in")

        def _asked(self, one: _Endpoint, parts: list[str], query: dict[str, list[str]], body: bytes) -> Any:
            instance.calls.append(one.name)
            if one.name != "login" and self.headers["Authorization"] != f"Bearer {TOKEN}":
                raise RefusedError(401, "Not authenticated")
            if one.name in instance.refusals:
                raise instance.refusals[one.name]
            function: Callable[..., Any] = getattr(instance, one.name.replace(".", "_"))
            given: list[Any] = list(parts)
            if one.body:
                given.append(_read_body(one.body[0], body))
            answer = function(*given, **{name: values[0] for name, values in query.items()})
            return answer if isinstance(answer, Dataset) else _dumped(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _read_body(kind: str, body: bytes) -> Any:
    if kind == _JSON:
        return json.loads(body) if body else {}
    if kind == _DATASET:
        return Dataset.load(BytesIO(body))
    if kind == _BINARY:
        return body
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}
